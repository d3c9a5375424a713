"""The safety record as a reader has it: what stands halted, what is in doubt, and whether the detector lives. Pure.

Only what a trusted key signed is believed. A key whose newest record is no such record, is older than one seen before,
or is gone, is in doubt; and so is one that a signed heartbeat names and nobody can show. Doubt is never clear.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pipeline.halt.believe import TrustedKeys, believed_halt, believed_word
from pipeline.halt.errors import UntrustedRecord
from pipeline.wire.halts import Halt
from pipeline.wire.record_keys import fleet_of, is_heartbeat, key_text, update_key
from pipeline.wire.verdicts import HALT_RECORDS_UNREAD, STREAM_TIME_AHEAD, FleetHeartbeat, StandingHalt, Verdict

FRESH_MS = 30_000  # three heartbeats: an older one opens nothing
DEAF = frozenset({STREAM_TIME_AHEAD, HALT_RECORDS_UNREAD})  # flags of a heartbeat whose detector does not hear all
ERASED, REPLAYED, MISSING, UNNAMED = "erased", "replayed", "missing", "unnamed"
DOUBTS: Mapping[str, str] = {
    ERASED: "its record was erased (a tombstone)",
    REPLAYED: "its newest record is older than one seen before",
    MISSING: "the heartbeat names it as halted, and no such record is there",
    UNNAMED: "the heartbeat counts halts that no record shows",
    "malformed": "its newest record is none",
    "wrong_key": "its newest record is another key's",
    "unknown_key": "its newest record is signed by a key that is not trusted",
    "wrong_role": "its newest record is signed by a key that is not a detector's",
    "unapproved": "its newest record is a resume that two operators did not sign",
    "bad_signature": "the signature of its newest record does not match",
}


class Doubt(NamedTuple):
    """A halt key of which nobody can say what holds: a reason of DOUBTS, and the newest record that was believed."""

    key: str
    reason: str
    halt: Halt | None

    @property
    def words(self) -> str:
        """For people."""
        return DOUBTS[self.reason]


class SafetyRecord:
    """Feed it both topics in their order, `fleet.verdicts` before `fleet.halts`: what a heartbeat names stands on the
    other topic before the heartbeat does."""

    def __init__(self, trusted: TrustedKeys) -> None:
        self._trusted = trusted
        self.halts: dict[str, Halt] = {}  # by key: the newest that was believed
        self.beats: dict[str, FleetHeartbeat] = {}  # by fleet
        self.verdicts: dict[str, Verdict] = {}  # by key
        self.refused: dict[str, str] = {}  # keys of fleet.verdicts whose newest record is not believed, and why
        self._doubts: dict[str, str] = {}

    def take_halt(self, key: bytes | None, value: bytes | None) -> str:
        """A record of `fleet.halts`; "" when it is believed, else the doubt that it leaves on its key."""
        name = key_text(key)
        reason = self._halt(key, name, value)
        if reason:
            self._doubts[name] = reason
        else:
            self._doubts.pop(name, None)
        return reason

    def _halt(self, key: bytes | None, name: str, value: bytes | None) -> str:
        if value is None:
            return ERASED
        try:
            halt = believed_halt(key, value, self._trusted)
        except UntrustedRecord as error:
            return error.reason
        known = self.halts.get(name)
        if known is not None and halt.rank < known.rank:
            return REPLAYED
        self.halts[name] = halt
        return ""

    def take_word(self, key: bytes | None, value: bytes | None) -> str:
        """A record of `fleet.verdicts`; "" when it is believed, else why not. One older than the newest seen is not."""
        name = key_text(key)
        reason = self._word(key, name, value)
        if reason:
            self.refused[name] = reason
        else:
            self.refused.pop(name, None)
        return reason

    def _word(self, key: bytes | None, name: str, value: bytes | None) -> str:
        if value is None:  # as of a fleet that was forgotten; what is not there opens nothing
            self.verdicts.pop(name, None)
            if is_heartbeat(key):
                self.beats.pop(fleet_of(key), None)
            return ""
        try:
            record = believed_word(key, value, self._trusted)
        except UntrustedRecord as error:
            return error.reason
        known = self.beats.get(record.fleet) if isinstance(record, FleetHeartbeat) else self.verdicts.get(name)
        if known is not None and record.at < known.at:
            return REPLAYED
        if isinstance(record, FleetHeartbeat):
            self.beats[record.fleet] = record
        else:
            self.verdicts[name] = record
        return ""

    def refusal_of(self, key: str) -> str:
        """Why the newest record of a key of `fleet.verdicts` is not believed, "" when it is. One that is only older
        than the newest seen says nothing against that."""
        reason = self.refused.get(key, "")
        return "" if reason == REPLAYED else reason

    def is_heard(self, fleet: str, now_ms: int) -> bool:
        """Whether the fleet's detector lives: its newest heartbeat is signed and not older than FRESH_MS, nor ahead."""
        beat = self.beats.get(fleet)
        return beat is not None and abs(now_ms - beat.at) <= FRESH_MS

    def doubts(self) -> list[Doubt]:
        """Keys of which nobody can say what holds, in their order. Of a fleet whose heartbeat counts more halts than it
        names and than records show, its own key `FLEET` stands for those without a name."""
        found = dict(self._doubts)
        for fleet, beat in self.beats.items():
            for key in self._missing(beat):
                found.setdefault(key, MISSING)
            if self._hidden(beat):
                found.setdefault(update_key(fleet, "", "", "").rstrip("/"), UNNAMED)
        return [Doubt(key, reason, self.halts.get(key)) for key, reason in sorted(found.items())]

    def _missing(self, beat: FleetHeartbeat) -> Iterator[str]:
        for named in beat.standing or ():
            if self._lacks(named):
                yield named.key

    def _lacks(self, named: StandingHalt) -> bool:
        """Whether no record shows this halt, nor a resume of a later epoch."""
        held = self.halts.get(named.key)
        return held is None or held.rank[:2] < (named.epoch, True)

    def _hidden(self, beat: FleetHeartbeat) -> bool:
        """Whether the heartbeat counts more halts without naming them than there are other records, or doubts."""
        named = {each.key for each in beat.standing or ()}
        unnamed = beat.standing_total - len(named)
        if unnamed <= 0:
            return False
        doubtful = {key for key in self._doubts if fleet_of(key.encode()) == beat.fleet}
        shown = {key for key, halt in self.halts.items() if halt.fleet == beat.fleet and _stood(halt, beat.at)}
        return len((shown | doubtful) - named) < unnamed

    def doubt_of(self, fleet: str, key: str) -> str:
        """The reason of `doubts` that concerns this halt key, "" for none."""
        reason, beat = self._doubts.get(key, ""), self.beats.get(fleet)
        if reason or beat is None:
            return reason
        if any(named.key == key and self._lacks(named) for named in beat.standing or ()):
            return MISSING
        held = self.halts.get(key)
        is_shown = held is not None and _stood(held, beat.at)
        return UNNAMED if not is_shown and self._hidden(beat) else ""


def _stood(halt: Halt, at_ms: int) -> bool:
    """Whether it may have stood then: it does, or was resumed since."""
    return halt.action == "halt" or halt.issued_at > at_ms
