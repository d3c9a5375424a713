"""Whether the stages read on: one that is frozen answers nobody, and no server says so."""

import time
from collections.abc import Mapping, Sequence

from pipeline.correlate.config import GROUP as CORRELATE
from pipeline.doctor.finding import Finding, ok, unchecked, warning
from pipeline.doctor.transactions import Transaction, holding, open_transactions, without_prefix
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.status.snapshot import group_rows, held_back
from pipeline.status.sources import Cluster, Offsets, Place
from pipeline.status.times import moment
from pipeline.wire.words import counted

CHECK = "kafka groups"
STILL_SECONDS = 2.0  # between the looks; combine and archive commit several times in it
WAITING_MESSAGES = 10  # fewer may be markers of transactions, which nobody reads


class Groups:
    """Two looks at the consumer groups; whatever else is to be asked is asked between them."""

    def __init__(self, kafka: KafkaConfig) -> None:
        self._kafka, self._cluster = kafka, Cluster(kafka)
        self._first = self._look()

    def _look(self) -> Offsets | str:
        try:
            return self._cluster.offsets()
        except AndonError as error:
            return str(error)

    def finding(self) -> Finding:
        """What the second look says, once enough time has passed."""
        if isinstance(self._first, str):
            return unchecked(CHECK, self._first)
        time.sleep(max(0.0, self._first.at_seconds + STILL_SECONDS - time.monotonic()))
        second = self._look()
        if isinstance(second, str):
            return unchecked(CHECK, second)
        named = self._named() if held_back(self._first, second) else None
        return groups_finding(self._first, second, named)

    def _named(self) -> list[Transaction] | None:
        prefix = self._kafka.topic_prefix
        found = open_transactions(self._kafka)
        return None if found is None else [without_prefix(one, prefix) for one in found]


def _held(held: Mapping[Place, int], transactions: Sequence[Transaction] | None) -> Finding:
    places = ", ".join(
        f"{topic}[{number}] ({counted(count, 'record')})" for (topic, number), count in sorted(held.items())
    )
    mine = sorted({one for at in held for one in holding(transactions or (), at)})
    named = "; ".join(
        f"{one.transactional_id!r} (producer {one.producer_id}) since {moment(one.began_ms)}, "
        f"ends by itself at {moment(one.ends_ms)}"
        for one in mine
    )
    whose = f": that of {named}" if named else "; whose it is, the brokers do not tell this account"
    advice = "if it lasts, end its producer, or abort it with `kafka-transactions.sh abort`; nothing behind it is read"
    return warning(CHECK, f"an open transaction holds back {places}{whose}", advice)


def groups_finding(first: Offsets, second: Offsets, transactions: Sequence[Transaction] | None = None) -> Finding:
    """Groups that had messages waiting and read none of them. The correlator commits behind its checkpoints only, up to
    half a minute apart: that it lives, it says itself."""
    waited = {(row.group, row.topic): row.lag_messages for row in group_rows(first, first)}
    still = [
        f"{row.group} ({counted(waited[row.group, row.topic], 'message')} of {row.topic})"
        for row in group_rows(first, second)
        if not row.messages_per_second and waited.get((row.group, row.topic), 0) > WAITING_MESSAGES
        if not row.group.endswith(CORRELATE)
    ]
    if held := held_back(first, second):
        return _held(held, transactions)
    if still:
        words = f"messages wait, and none was read within {STILL_SECONDS:.0f} s: {', '.join(still)}"
        return warning(
            CHECK, words, "see whether the stage runs, and its log; ask again in a minute if it just started"
        )
    if unknown := {**first.untold, **second.untold}:
        return unchecked(CHECK, "; ".join(f"how far {group} has come: {why}" for group, why in unknown.items()))
    return ok(CHECK, "none stands still before messages that wait" if second.committed else "nobody has read yet")
