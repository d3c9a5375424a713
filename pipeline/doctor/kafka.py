"""The cluster as Andon's own clients see it: credentials, brokers, topics, permissions, clock. Nothing is written."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException
from confluent_kafka.admin import AclOperation, AdminClient  # type: ignore[attr-defined]

from pipeline.doctor.address import check_address
from pipeline.doctor.finding import (
    ANSWER_SECONDS,
    Finding,
    clock_finding,
    connect_trouble,
    ok,
    problem,
    split_addresses,
    unchecked,
    warning,
)
from pipeline.doctor.groups import Groups
from pipeline.doctor.rights import Allowed, Resource, ask, may, permission_finding
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.topic_admin import Difference, TopicAdmin, differences
from pipeline.runtime.topic_reader import OffsetRange, TopicReader
from pipeline.runtime.waiting import Deadline
from pipeline.wire import topics
from pipeline.wire.words import counted

WATCH_SECONDS = 2.0  # how long a fresh record is waited for, to compare clocks
SIZING = ("retention.ms", "retention.bytes")  # how much is kept is the owner's choice; it breaks nothing
SPREAD = ("min.insync.replicas", "replicas")  # what one machine cannot have
REFUSED = {
    KafkaError._AUTHENTICATION: "the credentials are refused",
    KafkaError.SASL_AUTHENTICATION_FAILED: "the credentials are refused",
    KafkaError.UNSUPPORTED_SASL_MECHANISM: "the broker does not offer this SASL mechanism",
    KafkaError._SSL: "TLS fails",
}


def check_kafka(kafka: KafkaConfig, max_skew_seconds: float, stage: str | None = None) -> list[Finding]:
    """All findings about the cluster, for an account that is to run `stage`, or any.

    Raises:
        ConfigError: when the settings cannot be used at all.
    """
    findings = try_addresses(kafka)
    if not any(map(is_answer, findings)):
        return findings
    errors: list[KafkaError] = []
    admin = admin_client(kafka, errors)
    try:
        cluster = admin.list_topics(timeout=ANSWER_SECONDS)
    except KafkaException as error:
        admin.poll(0)
        return [*findings, login_trouble(kafka, [error.args[0], *errors])]
    findings.append(ok("kafka login", f"{login_name(kafka)}; {counted(len(cluster.brokers), 'broker')}"))
    findings += [brokers_finding(cluster.brokers.values())]
    allowed = ask(kafka, admin)
    findings += topic_findings(kafka, allowed, len(cluster.brokers))
    groups = Groups(kafka)
    findings.append(permission_finding(allowed, stage))
    there = [topic.name for topic in topics.ALL if kafka.topic_prefix + topic.name in cluster.topics]
    read = [name for name in there if may(allowed, Resource("topic", name), AclOperation.READ) is not False]
    if there:
        findings.append(broker_clock(kafka, [kafka.topic_prefix + name for name in read], max_skew_seconds))
    return [*findings, groups.finding()]


def try_addresses(kafka: KafkaConfig) -> list[Finding]:
    """All of them at once: each may hang until it is given up."""
    addresses = split_addresses("kafka.bootstrap_servers", kafka.bootstrap_servers)
    with ThreadPoolExecutor(len(addresses)) as pool:
        found = list(pool.map(lambda address: check_address(kafka, *address), addresses))
    return [finding for findings in found for finding in findings]


def is_answer(finding: Finding) -> bool:
    """Whether it says that a broker answers."""
    return finding.check.endswith("version") and finding.level == "ok"


def admin_client(kafka: KafkaConfig, errors: list[KafkaError]) -> AdminClient:
    """Raises ConfigError when librdkafka refuses the settings."""
    try:
        return AdminClient(client_config(kafka, "andon-doctor") | {"error_cb": errors.append})
    except KafkaException as error:
        raise ConfigError(f"[kafka]: {error.args[0].str()}") from None


def login_name(kafka: KafkaConfig) -> str:
    """Who we are to the broker."""
    if kafka.security_protocol.startswith("SASL"):
        return f"accepted as {kafka.sasl_username} ({kafka.sasl_mechanism})"
    return "accepted by certificate" if kafka.ssl_certificate_file else "accepted without credentials"


def login_trouble(kafka: KafkaConfig, errors: list[KafkaError]) -> Finding:
    """The most telling of the errors that the client met."""
    for error in errors:
        if error.code() in REFUSED:
            advice = "check kafka.sasl_username, ANDON_KAFKA_SASL_PASSWORD (or its file) and kafka.sasl_mechanism"
            return problem("kafka login", f"{REFUSED[error.code()]}: {error.str()}", advice)
    words = f"the broker accepts connections but does not answer this client: {errors[0].str()}"
    hint = "it may require credentials" if kafka.security_protocol in ("PLAINTEXT", "SSL") else "it may not want SASL"
    return problem("kafka login", words, f"check kafka.security_protocol ({kafka.security_protocol}): {hint}")


def brokers_finding(brokers: Any) -> Finding:
    """Every broker must be reachable under the name that it gives itself."""
    check = "kafka brokers"
    lost = {f"{b.host}:{b.port}": trouble for b in brokers if (trouble := connect_trouble(b.host, b.port))}
    if lost:
        words = "; ".join(f"{address}, as the broker calls itself: {trouble}" for address, trouble in lost.items())
        return problem(check, words, "correct the broker's advertised.listeners, or open the way to it")
    return ok(check, "each is reachable under the address that it advertises")


def topic_findings(kafka: KafkaConfig, allowed: Allowed, brokers: int) -> list[Finding]:
    """Missing topics, and settings that are not as defined; of what this account may ask about."""
    check = "kafka topics"
    hidden = [
        topic
        for topic in topics.ALL
        if may(allowed, Resource("topic", topic.name), AclOperation.DESCRIBE_CONFIGS) is False
    ]
    known = [topic for topic in topics.ALL if topic not in hidden]
    try:
        found = TopicAdmin(kafka).find([kafka.topic_prefix + topic.name for topic in known])
    except AndonError as error:
        advice = "let this account describe topics and their configuration (DESCRIBE, DESCRIBE_CONFIGS)"
        return [problem(check, str(error), advice)]
    differing = differences(known, found, kafka.topic_prefix)
    single = [each for each in differing if brokers == 1 and each.key in SPREAD]
    findings = [topic_finding(each) for each in differing if not each.is_choice and each not in single]
    lonely = [name for name, topic in found.items() if brokers > 1 and topic.replicas < 2]
    if lonely:
        words = f"kept by one broker only, though there are {brokers}: {', '.join(lonely)}"
        findings.append(warning(check, words, "raise their replication: one lost disk would lose halts"))
    if hidden:
        names = ", ".join(topic.name for topic in hidden)
        words = (
            f"this account may not ask whether they are as defined (DESCRIBE_CONFIGS; that of `topics` may): {names}"
        )
        findings.append(unchecked(check, words))
    smaller = sorted({each.topic for each in [*single, *(each for each in differing if each.is_choice)]})
    if smaller:
        words = f"one machine keeps less than is defined, which is right for it: {', '.join(smaller)}"
        findings.append(ok("kafka single machine" if brokers == 1 else check, words))
    whole = f"all {len(known)} are there, set up as defined"
    real = [each for each in findings if each.level != "ok"]
    return findings if real else [ok(check, whole), *findings]


def topic_finding(difference: Difference) -> Finding:
    """One difference, by its weight."""
    if not difference.key:
        return problem("kafka topics", str(difference), "`andon topics apply` creates it")
    if difference.key in SIZING:
        return warning("kafka topics", str(difference), "`andon topics apply --fix` alters it, if it is not meant so")
    advice = "`andon topics apply --fix` alters it" if difference.fixable else "partitions cannot be taken away"
    return problem("kafka topics", str(difference), advice)


def broker_clock(kafka: KafkaConfig, names: list[str], max_skew_seconds: float) -> Finding:
    """Compare clocks by records that the broker stamps on arrival. Andon's own traffic serves: nothing is written."""
    check = "kafka clock"
    if not names:
        return unchecked(check, "this account may read no topic")
    try:
        fresh, newest_ms = watch_stamps(kafka, names)
    except AndonError as error:
        advice = "let this account READ Andon's topics"
        return warning(check, f"not compared: topics cannot be read: {error}", advice)
    if fresh is not None:
        return clock_finding(check, fresh, max_skew_seconds, "a record that just arrived")
    ahead = (newest_ms - wall_clock_ms()) / 1000
    if newest_ms and ahead > max_skew_seconds:
        return clock_finding(check, ahead, max_skew_seconds, "the newest record is from the future")
    return unchecked(check, f"no record arrived within {WATCH_SECONDS:.0f} s, and none is from the future")


def watch_stamps(kafka: KafkaConfig, names: list[str]) -> tuple[float | None, int]:
    """(seconds that the broker is ahead by a record that arrives now, else None; newest stamp, unix ms)."""
    with TopicReader(kafka, "andon-doctor", settings={"fetch.wait.max.ms": 50}) as reader:
        ends = {(held.topic, held.partition): held.end or 0 for held in reader.held(*names)}
        reader.start(OffsetRange(name, number, max(0, end - 1)) for (name, number), end in ends.items())
        return _first_fresh(reader, ends)


def _first_fresh(reader: TopicReader, ends: dict[tuple[str, int], int]) -> tuple[float | None, int]:
    newest_ms = 0
    deadline = Deadline(WATCH_SECONDS)
    while not deadline.has_passed:
        for message in reader.poll(deadline.left_seconds):
            kind, stamp_ms = message.timestamp()
            if kind != TIMESTAMP_LOG_APPEND_TIME:
                continue
            newest_ms = max(newest_ms, stamp_ms)
            if (message.offset() or 0) >= ends[message.topic() or "", message.partition() or 0]:
                return (stamp_ms - wall_clock_ms()) / 1000, newest_ms
    return None, newest_ms
