"""What the demo knows of the detector: what any subscriber can read. Nothing here looks into a stage."""

from collections import Counter
from typing import NamedTuple

from pipeline.halt.believe import TrustedKeys, believed_ack
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.merit import last_install_of
from pipeline.halt.safety import ERASED, SafetyRecord
from pipeline.halts.facts import Obeyed, obedience
from pipeline.simulate.tail import ReceivedRecord, Tail
from pipeline.wire import topics
from pipeline.wire.acks import HaltAck
from pipeline.wire.halts import Halt
from pipeline.wire.partials import UpdateId
from pipeline.wire.record_keys import key_text
from pipeline.wire.verdicts import Verdict


class Seen(NamedTuple):
    """A halt whose signature held, and when it could be read here (unix ms)."""

    halt: Halt
    received_ms: int

    @property
    def update(self) -> UpdateId:
        """What it stops."""
        return UpdateId(self.halt.vendor, self.halt.product, self.halt.version)


class Watch:
    """Follows `fleet.halts`, `fleet.verdicts` and `fleet.halt-acks` of every fleet."""

    def __init__(self, tail: Tail, trusted: TrustedKeys) -> None:
        self._tail, self._trusted = tail, trusted
        self._record = SafetyRecord(trusted)
        self._refused: Counter[tuple[str, str]] = Counter()
        self._acks: list[HaltAck] = []
        self.halts: list[Seen] = []
        self.highest: dict[tuple[str, UpdateId], Verdict] = {}  # by fleet and update: the most that was ever found

    @property
    def refused(self) -> list[str]:
        """What records were not believed, how many, and why."""
        return [
            f"records of {topic} that are not to be believed: {count} ({why})"
            for (topic, why), count in sorted(self._refused.items())
        ]

    def read(self) -> None:
        """What has come since last time."""
        for record in self._tail.take():
            why = self._take(record)
            if why and not (why == ERASED and record.topic != topics.HALTS.name):
                self._refused[record.topic, why] += 1

    def _take(self, record: ReceivedRecord) -> str:
        """ "" when it is believed, else why not."""
        key, value = key_text(record.key), record.value or None
        if record.topic == topics.HALT_ACKS.name:
            return self._note_ack(record)
        if record.topic == topics.VERDICTS.name:
            why = self._record.take_word(record.key, value)
            if not why and (verdict := self._record.verdicts.get(key)) is not None:
                self._note(verdict)
            return why
        known = self._record.halts.get(key)
        why = self._record.take_halt(record.key, value)
        if not why and (known is None or known.epoch < self._record.halts[key].epoch):
            self.halts.append(Seen(self._record.halts[key], record.received_ms))
        return why

    def _note_ack(self, record: ReceivedRecord) -> str:
        if not record.value:
            return ERASED
        try:
            self._acks.append(believed_ack(record.key, record.value, self._trusted))
        except UntrustedRecord as error:
            return error.reason
        return ""

    def _note(self, verdict: Verdict) -> None:
        key = verdict.fleet, UpdateId(verdict.vendor, verdict.product, verdict.version)
        known = self.highest.get(key)
        if known is None or verdict.log10_evidence > known.log10_evidence:
            self.highest[key] = verdict

    def halted(self, fleet: str) -> dict[UpdateId, Seen]:
        """The first halt of each of the fleet's updates."""
        first: dict[UpdateId, Seen] = {}
        for seen in self.halts:
            if seen.halt.fleet == fleet and seen.halt.action == "halt":
                first.setdefault(seen.update, seen)
        return first

    def obeyed(self, seen: Seen) -> list[Obeyed]:
        """Who has acknowledged it, and how fast."""
        return obedience(self._acks, seen.halt, seen.halt.issued_at)

    def last_install(self, fleet: str, update: UpdateId) -> int:
        """The newest installation that the newest verdict tells of, unix ms; 0 when unknown."""
        own = (fleet, *update)
        verdicts = self._record.verdicts.values()
        return last_install_of(v for v in verdicts if (v.fleet, v.vendor, v.product, v.version) == own)

    def evidence(self, fleet: str, update: UpdateId) -> float | None:
        """The highest log10 evidence ever published of an update; None when nothing was."""
        verdict = self.highest.get((fleet, update))
        return None if verdict is None else verdict.log10_evidence
