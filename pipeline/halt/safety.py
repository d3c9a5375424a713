"""The safety record as a reader has it: what stands halted, what is in doubt, and whether the detector lives. Pure.

Only what a trusted key signed is believed. A key whose newest record is no such record, is older than one seen before,
or is gone, is in doubt; and so is one that a signed heartbeat names and nobody can show. Doubt is never clear.
"""

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.halt.accounted import Accounted
from pipeline.halt.believe import TrustedKeys, believed_halt, believed_word
from pipeline.halt.errors import UntrustedRecord
from pipeline.wire.halts import Halt
from pipeline.wire.record_keys import fleet_of, is_alarm, is_heartbeat, key_text, update_key
from pipeline.wire.verdicts import (
    HALT_RECORDS_UNREAD,
    STREAM_TIME_AHEAD,
    UNATTRIBUTED_ALARM,
    FleetAlarm,
    FleetHeartbeat,
    Verdict,
    Word,
)

FRESH_MS = 30_000  # three heartbeats: an older one opens nothing
UNHEARD_SECONDS = 300.0
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
        self.alarms: dict[str, FleetAlarm] = {}  # by fleet: what it says, whether or not it still sounds
        self.refused: dict[str, str] = {}  # keys of fleet.verdicts whose newest record is not believed, and why
        self.touched: set[str] = set()  # keys of fleet.halts whose record has come; who follows changes empties it
        self._doubts: dict[str, str] = {}
        self._accounted: dict[str, Accounted] = {}  # by fleet

    def take_halt(self, key: bytes | None, value: bytes | None) -> str:
        """A record of `fleet.halts`; "" when it is believed, else the doubt that it leaves on its key."""
        name = key_text(key)
        reason = self._halt(key, name, value)
        if reason:
            self._doubts[name] = reason
        else:
            self._doubts.pop(name, None)
        self.accounted(fleet_of(key)).put(name, self.halts.get(name), bool(reason))
        self.touched.add(name)
        return reason

    def accounted(self, fleet: str) -> Accounted:
        """Which of the fleet's halts records account for."""
        return self._accounted.setdefault(fleet, Accounted())

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
            self._forget(key, name)
            return ""
        try:
            record = believed_word(key, value, self._trusted)
        except UntrustedRecord as error:
            return error.reason
        known = self._known(record)
        if known is not None and record.at < known.at:
            return REPLAYED
        if isinstance(record, FleetHeartbeat):
            self.beats[record.fleet] = record
            self.accounted(record.fleet).hear(record)
        elif isinstance(record, FleetAlarm):
            self.alarms[record.fleet] = record
        else:
            self.verdicts[name] = record
        return ""

    def _forget(self, key: bytes | None, name: str) -> None:
        self.verdicts.pop(name, None)
        if is_alarm(key):
            self.alarms.pop(fleet_of(key), None)
        if is_heartbeat(key):
            self.beats.pop(fleet_of(key), None)
            self.accounted(fleet_of(key)).hear(None)

    def _known(self, record: Word) -> Word | None:
        """The newest that was believed under its key."""
        if isinstance(record, FleetHeartbeat):
            return self.beats.get(record.fleet)
        return self.alarms.get(record.fleet) if isinstance(record, FleetAlarm) else self.verdicts.get(record.key)

    def is_alarmed(self, fleet: str) -> bool:
        """Whether the fleet's unattributed alarm sounds: its heartbeat says so, whatever became of the alarm's own
        record, which only says more."""
        beat = self.beats.get(fleet)
        return beat is not None and UNATTRIBUTED_ALARM in beat.flags

    def alarm_of(self, fleet: str) -> FleetAlarm | None:
        """What the alarm that sounds says, if that is known."""
        alarm = self.alarms.get(fleet) if self.is_alarmed(fleet) else None
        return alarm if alarm is not None and alarm.state == "sounding" else None

    def refusal_of(self, key: str) -> str:
        """Why the newest record of a key of `fleet.verdicts` is not believed, "" when it is. One that is only older
        than the newest seen says nothing against that."""
        reason = self.refused.get(key, "")
        return "" if reason == REPLAYED else reason

    def is_heard(self, fleet: str, now_ms: int) -> bool:
        """Whether the fleet's detector lives: its newest heartbeat is signed and not older than FRESH_MS, nor ahead."""
        beat = self.beats.get(fleet)
        return beat is not None and abs(now_ms - beat.at) <= FRESH_MS

    def unheard_seconds(self, fleet: str) -> float | None:
        """How old the fleet's newest report was when its detector last spoke, if that is more than people expect: they
        have ended, or wait unread behind a stage that is deaf, and its evidence is as old."""
        beat = self.beats.get(fleet)
        seconds = 0.0 if beat is None else (beat.at - beat.stream_time) / 1000
        return seconds if seconds > UNHEARD_SECONDS else None

    def doubts(self) -> list[Doubt]:
        """Keys of which nobody can say what holds, in their order. Of a fleet whose heartbeat counts more halts than it
        names and than records show, its own key `FLEET` stands for those without a name."""
        found = dict(self._doubts)
        for fleet in self.beats:
            accounted = self._accounted[fleet]
            for key, epoch in accounted.named.items():
                if self._lacks(key, epoch):
                    found.setdefault(key, MISSING)
            if accounted.hides:
                found.setdefault(update_key(fleet, "", "", "").rstrip("/"), UNNAMED)
        return [Doubt(key, reason, self.halts.get(key)) for key, reason in sorted(found.items())]

    def _lacks(self, key: str, epoch: int) -> bool:
        """Whether no record shows this halt, nor a resume of a later epoch."""
        held = self.halts.get(key)
        return held is None or held.rank[:2] < (epoch, True)

    def doubt_of(self, fleet: str, key: str) -> str:
        """The reason of `doubts` that concerns this halt key, "" for none."""
        reason, accounted = self._doubts.get(key, ""), self._accounted.get(fleet)
        if reason or accounted is None:
            return reason
        if key in accounted.named and self._lacks(key, accounted.named[key]):
            return MISSING
        return UNNAMED if not accounted.is_shown(key) and accounted.hides else ""
