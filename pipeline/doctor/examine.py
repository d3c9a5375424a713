"""Every check, at once; findings in the order of an event's path."""

from concurrent.futures import ThreadPoolExecutor

from pipeline.doctor.clickhouse import check_clickhouse
from pipeline.doctor.disk import check_disk
from pipeline.doctor.finding import Finding, not_configured, problem, unchecked, warning
from pipeline.doctor.halts import check_halts
from pipeline.doctor.http import check_correlator, check_gateway, check_stage
from pipeline.doctor.kafka import check_kafka, is_answer, try_addresses
from pipeline.doctor.targets import Targets
from pipeline.local import guide
from pipeline.runtime.kafka import KafkaConfig


def examine(found: Targets) -> list[Finding]:
    """Look at all of them at once; findings in the order of an event's path."""
    checks = [
        lambda: check_disk(found.data_dir),
        lambda: kafka_findings(found),
        lambda: gateway(found),
        lambda: stage("combiner", "combine", found.doctor.combine_url),
        lambda: correlator(found),
        lambda: halts(found),
        lambda: stage("notify", "notify", found.doctor.notify_url),
        lambda: stage("archive", "archive", found.doctor.archive_url),
        lambda: stored(found),
    ]
    with ThreadPoolExecutor(len(checks)) as pool:
        futures = [pool.submit(check) for check in checks]
        return [finding for future in futures for finding in future.result()]


def kafka_findings(found: Targets) -> list[Finding]:
    """The cluster is always looked at: every stage needs it, and has a default address."""
    findings = check_kafka(found.kafka, found.doctor.max_skew_seconds, found.stage)
    if found.is_open_line:
        findings.append(warning("kafka users", guide.OPEN, guide.CLOSED))
    if found.kafka == KafkaConfig() and any(finding.level == "problem" for finding in findings):
        advice = "start a local line with `andon up`, or name your cluster with --bootstrap-servers"
        findings.append(problem("kafka", "no cluster is configured: the default address was tried", advice))
    return findings


def halts(found: Targets) -> list[Finding]:
    """The safety record, where there is a broker to ask: a client would wait for one that hangs."""
    if not any(map(is_answer, try_addresses(found.kafka))):
        return [unchecked("halts", "no broker answers: see kafka above")]
    return check_halts(found.kafka, found.trust)


def gateway(found: Targets) -> list[Finding]:
    """The gateway, if configured."""
    doctor = found.doctor
    if not doctor.gateway_url:
        return [not_configured("gateway", "--gateway-url (doctor.gateway_url) names one")]
    return check_gateway(doctor.gateway_url, doctor.gateway_token_file, doctor.max_skew_seconds)


def stage(check: str, name: str, url: str) -> list[Finding]:
    """The combiner, notify or the archive, if configured."""
    if not url:
        return [not_configured(check, f"--{name}-url (doctor.{name}_url) names one")]
    return check_stage(check, name, url)


def correlator(found: Targets) -> list[Finding]:
    """The correlator, if configured."""
    if not found.doctor.correlate_url:
        return [not_configured("correlator", "--correlate-url (doctor.correlate_url) names one")]
    return check_correlator(found.doctor.correlate_url)


def stored(found: Targets) -> list[Finding]:
    """ClickHouse, if configured."""
    if found.clickhouse is None:
        return [not_configured("clickhouse", "--clickhouse-url (clickhouse.url) names one")]
    return check_clickhouse(found.clickhouse, found.doctor.max_skew_seconds)
