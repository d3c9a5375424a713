"""The safety record as any subscriber finds it: what stands halted, what is in doubt, whether heartbeats are heard."""

from pipeline.correlate.halt_watch import DISTURBED, UNREAD
from pipeline.doctor.finding import ANSWER_SECONDS, Finding, ok, problem, unchecked, warning
from pipeline.halt.believe import TrustedKeys
from pipeline.halt.safety import SafetyRecord
from pipeline.halt.trust import TrustConfig as TrustConfig  # for who calls this
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.topic_reader import TopicReader
from pipeline.wire import topics
from pipeline.wire.record_keys import is_heartbeat
from pipeline.wire.words import counted

CHECK = "halts"
NAMED = 5  # of each kind
FIND_OUT = "find out who else may write to fleet.halts, and take that right away"


def check_halts(kafka: KafkaConfig, trust: TrustConfig) -> list[Finding]:
    """All findings about fleet.halts and the heartbeats of fleet.verdicts, as far as this account may read them."""
    try:
        trusted = trust.keys()
    except ConfigError as error:
        advice = "until then nothing that is signed can be told from what is forged"
        return [problem("keys of halts", str(error), advice)]
    if trusted is None:
        why = (
            "forged or erased halts would not be noticed from here: --trusted-keys-dir (trust.keys_dir) names the keys"
        )
        return [unchecked(CHECK, why)]
    try:
        return halt_findings(read_record(kafka, trusted), wall_clock_ms())
    except AndonError as error:
        return [unchecked(CHECK, f"fleet.halts and fleet.verdicts cannot be read: {error}")]


def read_record(kafka: KafkaConfig, trusted: TrustedKeys) -> SafetyRecord:
    """Both topics to their ends, the heartbeats first: what they name is on the other topic before.

    Raises:
        AndonError: when one of them is not there, may not be read, or does not answer in time.
    """
    record = SafetyRecord(trusted)
    with TopicReader(kafka, "andon-doctor") as reader:
        for topic, take in ((topics.VERDICTS, record.take_word), (topics.HALTS, record.take_halt)):
            reader.start(reader.whole(kafka.topic_prefix + topic.name))
            for messages in reader.to_end(ANSWER_SECONDS):
                for message in messages:
                    take(message.key(), message.value())
    return record


def halt_findings(record: SafetyRecord, now_ms: int) -> list[Finding]:
    """In the order of their weight."""
    findings = [*_doubts(record), *_beats(record, now_ms)]
    if not findings:
        standing = sum(halt.action == "halt" for halt in record.halts.values())
        stand = counted(standing, "stands", "stand")
        heard = counted(len(record.beats), "fleet sends", "fleets send")
        words = f"{stand}, each as it was signed; {heard} signed heartbeats"
        findings.append(ok(CHECK, words))
    return findings


def _doubts(record: SafetyRecord) -> list[Finding]:
    doubts = record.doubts()
    found = [
        problem(CHECK, f"{doubt.key} is unknown: {doubt.words}", f"{FIND_OUT}; the correlator puts back what it said")
        for doubt in doubts[:NAMED]
    ]
    if len(doubts) > NAMED:
        found.append(
            problem(CHECK, f"{counted(len(doubts) - NAMED, 'more key is', 'more keys are')} unknown", FIND_OUT)
        )
    return found


def _beats(record: SafetyRecord, now_ms: int) -> list[Finding]:
    found = []
    refused = [key for key in record.refused if is_heartbeat(key.encode())]
    if refused:
        words = f"not believed, nobody trusted signed them: {_some(refused)}"
        found.append(
            problem("heartbeats", words, "start the correlator anew if it is of an older version; or " + FIND_OUT)
        )
    silent = [fleet for fleet in record.beats if not record.is_heard(fleet, now_ms)]
    if silent:
        words = f"none for 30 s: {_some(silent)}; nothing is known of these fleets"
        found.append(
            warning("heartbeats", words, "see that `andon correlate` runs; of a fleet that is gone, forget it")
        )
    if unread := [fleet for fleet, beat in record.beats.items() if UNREAD in beat.flags]:
        words = f"the correlator cannot read fleet.halts, and would not notice its loss: {_some(unread)}"
        found.append(problem(CHECK, words, "see its log"))
    if disturbed := [fleet for fleet, beat in record.beats.items() if DISTURBED in beat.flags]:
        words = f"records were lost, erased, overwritten or forged within the last hour: {_some(disturbed)}"
        found.append(warning(CHECK, words, f"see the correlator's log; {FIND_OUT}"))
    return found


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(sorted(names)[:NAMED]) + more
