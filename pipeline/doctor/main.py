"""`andon doctor`: reach every server that Andon is configured for, and say in plain words what is wrong."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import click
import msgspec
from click.core import ParameterSource

from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.doctor.clickhouse import check_clickhouse
from pipeline.doctor.finding import Finding, not_configured, problem, warning
from pipeline.doctor.halts import TrustConfig, check_halts
from pipeline.doctor.http import check_correlator, check_gateway
from pipeline.doctor.kafka import check_kafka
from pipeline.doctor.rights import NEEDS
from pipeline.local import datadir, guide, stack
from pipeline.runtime.config import configured
from pipeline.runtime.kafka import KafkaConfig, check
from pipeline.runtime.logging import printable
from pipeline.runtime.say import say, say_json

Doc = msgspec.Meta

COLORS = {"ok": "green", "warning": "yellow", "problem": "red"}  # the others: dim


class DoctorConfig(msgspec.Struct, frozen=True):
    """Section `doctor`: what the other sections do not say."""

    gateway_url: Annotated[str, Doc(description="http(s)://host:port of the gateway")] = ""
    gateway_token_file: Annotated[str, Doc(description="file that holds a sender's token, to try it")] = ""
    correlate_url: Annotated[str, Doc(description="http(s)://host:port of the correlator's web view")] = ""
    max_skew_seconds: Annotated[float, Doc(gt=0, description="difference of clocks that is tolerated")] = 5.0


class Targets(msgspec.Struct, frozen=True):
    """Everything to be looked at; None or "" is not configured."""

    kafka: KafkaConfig
    clickhouse: ClickHouseConfig | None
    doctor: DoctorConfig
    stage: str | None = None  # that the account is to run
    trust: TrustConfig = TrustConfig()
    is_open_line: bool = False  # a local line whose broker asks nobody who they are


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: ok, and every finding.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=datadir.DEFAULT,
    envvar="ANDON_DATA_DIR",
    show_default=True,
    help="Of the local line; while it runs, addresses that are not configured are taken from it.",
)
@click.option(
    "--as",
    "stage",
    type=click.Choice(list(NEEDS)),
    help="Whether the Kafka account may do what this stage needs (deploy/README.md) [default: which it may run].",
)
@configured(("doctor", DoctorConfig), ("kafka", KafkaConfig), ("clickhouse", ClickHouseConfig), ("trust", TrustConfig))
def command(
    as_json: bool,
    data_dir: Path,
    stage: str | None,
    doctor: DoctorConfig,
    kafka: KafkaConfig,
    clickhouse: ClickHouseConfig,
    trust: TrustConfig,
) -> None:
    """Check every server that Andon is configured for. Exit code 0: all well; 1: problems; 2: bad configuration."""
    check(kafka)
    source = click.get_current_context().get_parameter_source("bootstrap_servers")
    local = stack.meant(data_dir.absolute(), kafka, source is ParameterSource.COMMANDLINE)
    found = targets(doctor, kafka, clickhouse, stack.running(data_dir.absolute()) if local else None)
    trust = trust if trust.keys_dir else found.trust
    findings = examine(msgspec.structs.replace(found, stage=stage, trust=trust))
    healthy = all(finding.level != "problem" for finding in findings)
    if as_json:
        say_json({"ok": healthy, "findings": findings})
    else:
        show(findings)
    if not healthy:
        raise SystemExit(1)


def targets(
    doctor: DoctorConfig, kafka: KafkaConfig, clickhouse: ClickHouseConfig, info: stack.StackInfo | None
) -> Targets:
    """What is configured, filled up from the running local line if there is one."""
    if info is None:
        return Targets(kafka, None if clickhouse == ClickHouseConfig() else clickhouse, doctor)
    local = msgspec.structs.replace(
        doctor,
        gateway_url=doctor.gateway_url or info.gateway_url,
        gateway_token_file=doctor.gateway_token_file or ("" if doctor.gateway_url else info.gateway_token_file),
        correlate_url=doctor.correlate_url or info.correlate_url,
    )
    trust = TrustConfig(keys_dir=info.keys_dir)
    is_open = not info.kafka_username
    return Targets(info.kafka, _clickhouse(clickhouse, info), local, trust=trust, is_open_line=is_open)


def _clickhouse(clickhouse: ClickHouseConfig, info: stack.StackInfo) -> ClickHouseConfig | None:
    """The line's server, with what else is configured; another server never gets the line's credentials."""
    default = ClickHouseConfig()
    if clickhouse.url != default.url or not info.clickhouse_url:
        return None if clickhouse == default else clickhouse
    user = clickhouse.user if clickhouse.user != default.user else info.clickhouse_user
    has_password = clickhouse.password or clickhouse.password_file or user != info.clickhouse_user
    return msgspec.structs.replace(
        clickhouse,
        url=info.clickhouse_url,
        user=user,
        password_file=clickhouse.password_file if has_password else info.clickhouse_password_file,
    )


def examine(found: Targets) -> list[Finding]:
    """Look at all of them at once; findings in the order of an event's path."""
    checks = [
        lambda: kafka_findings(found),
        lambda: gateway(found),
        lambda: correlator(found),
        lambda: check_halts(found.kafka, found.trust),
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


def gateway(found: Targets) -> list[Finding]:
    """The gateway, if configured."""
    doctor = found.doctor
    if not doctor.gateway_url:
        return [not_configured("gateway", "--gateway-url (doctor.gateway_url) names one")]
    return check_gateway(doctor.gateway_url, doctor.gateway_token_file, doctor.max_skew_seconds)


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


def show(findings: list[Finding]) -> None:
    """For people: one line a finding, advice below what needs it."""
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        level = click.style(f"{finding.level:14}", fg=COLORS.get(finding.level, "bright_black"))
        words = finding.advice if finding.level == "not configured" else finding.words
        say(f"{level}  {finding.check:{width}}  {printable(words)}")
        if finding.level in ("warning", "problem"):
            say(f"{'':14}  {'':{width}}  → {printable(finding.advice)}")
    count = Counter(finding.level for finding in findings)
    bad = [
        f"{count[level]} {level}{'' if count[level] == 1 else 's'}" for level in ("problem", "warning") if count[level]
    ]
    say(", ".join(bad) or "all well")
