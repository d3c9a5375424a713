"""Where logs begin and end, and which log a topic's is: asked of the brokers, outside of any group. Blocks."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.kafka_log import Errors

CALL_SECONDS = 5.0
NO_ID = "A" * 22  # zeros, in base64

Place = tuple[str, int]  # topic, as the cluster names it, and partition


class Ends(NamedTuple):
    """Of one log: as far as it is committed, and as far as it is written. Between the two lies an open transaction."""

    committed: int
    written: int


class FirstRecord(NamedTuple):
    """Of a log: its offset, and its timestamp in unix ms; both -1 when the log is empty."""

    offset: int
    at_ms: int


def is_another(before: FirstRecord | None, now: FirstRecord) -> bool:
    """Whether a log that begins so cannot be the one that began so before. Records go from a log's beginning; one that
    begins further back, with an older record, has been put back from what its broker had saved."""
    if before is None or now.offset < 0:
        return False
    if now.offset == before.offset:
        return now.at_ms != before.at_ms
    return now.offset < before.offset and now.at_ms > before.at_ms


class LogOffsets:
    """Asks through one admin client."""

    def __init__(self, kafka: KafkaConfig, client_id: str) -> None:
        self._ids: dict[str, str] = {}  # by topic, as they were when they were first asked for
        self._firsts: dict[Place, FirstRecord] = {}
        self.errors = Errors()
        self.admin = AdminClient(client_config(kafka, client_id) | self.errors.settings)

    def first(self, places: Iterable[Place]) -> dict[Place, int]:
        """The first offset that each log still holds. Raises KafkaException, TimeoutError."""
        return self._ask(places, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)  # type: ignore[no-untyped-call]

    def ends(self, places: Iterable[Place]) -> dict[Place, Ends]:
        """Raises KafkaException, TimeoutError."""
        wanted = list(places)
        committed = self.end(wanted, IsolationLevel.READ_COMMITTED)
        written = self.end(wanted, IsolationLevel.READ_UNCOMMITTED)  # after it: never less
        return {place: Ends(committed[place], written[place]) for place in wanted}

    def end(self, places: Iterable[Place], isolation: IsolationLevel) -> dict[Place, int]:
        """The next offset of each log, as a reader of this isolation sees it. Raises KafkaException, TimeoutError."""
        return self._ask(places, OffsetSpec.latest(), isolation)  # type: ignore[no-untyped-call]

    def _ask(self, places: Iterable[Place], spec: Any, isolation: IsolationLevel) -> dict[Place, int]:
        return {at: answer.offset for at, answer in self._answers(places, spec, isolation).items()}

    def _answers(self, places: Iterable[Place], spec: Any, isolation: IsolationLevel) -> dict[Place, Any]:
        wanted = {TopicPartition(*place): spec for place in places}
        if not wanted:
            return {}
        found = self.admin.list_offsets(wanted, isolation_level=isolation, request_timeout=CALL_SECONDS)
        try:
            return {(at.topic, at.partition): answer.result(CALL_SECONDS) for at, answer in found.items()}
        except KafkaException:
            # After a leader's restart the client would be refused for ever (FENCED_LEADER_EPOCH): it has to look again.
            self.admin.list_topics(timeout=CALL_SECONDS)
            raise

    def log_id(self, topic: str) -> str:
        """What tells a topic from another of its name that was there before; "" where the broker does not say (the
        embedded one). Raises KafkaException, TimeoutError."""
        return self.log_ids([topic])[topic]

    def log_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """The same, of several."""
        wanted = list(topics)
        if not wanted:
            return {}
        asked = self.admin.describe_topics(TopicCollection(wanted), request_timeout=CALL_SECONDS)
        named = {topic: str(answer.result(CALL_SECONDS).topic_id) for topic, answer in asked.items()}
        return {topic: "" if log_id == NO_ID else log_id for topic, log_id in named.items()}

    def made_anew(self, places: Iterable[Place]) -> set[str]:
        """Topics of these that are not what they were when this was first asked: they have another id, or, where the
        broker gives none, another first record. What is not asked for any more is forgotten.

        Raises:
            KafkaException, TimeoutError: when the brokers do not say.
        """
        wanted = list(places)
        ids = self.log_ids({topic for topic, _ in wanted})
        firsts = self._first_records(at for at in wanted if not ids[at[0]])
        others = {topic for topic, found in ids.items() if self._ids.get(topic, found) != found}
        others |= {at[0] for at, found in firsts.items() if is_another(self._firsts.get(at), found)}
        self._ids = {topic: self._ids.get(topic, found) for topic, found in ids.items()}
        known = {at: self._firsts[at] for at in firsts.keys() & self._firsts.keys()}
        self._firsts = known | {at: found for at, found in firsts.items() if at[0] not in others and found.offset >= 0}
        return others

    def _first_records(self, places: Iterable[Place]) -> dict[Place, FirstRecord]:
        spec: Any = OffsetSpec.for_timestamp(0)
        found = self._answers(places, spec, IsolationLevel.READ_UNCOMMITTED)
        return {at: FirstRecord(answer.offset, answer.timestamp) for at, answer in found.items()}
