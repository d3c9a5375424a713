"""What a rollout system is to do with an update, by the gate's own table: what the gate answers `never` to is stopped,
what operators resumed goes on. Pure."""

import heapq
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

import msgspec

from consumers.rollout.gate import EVERY_RING, detector_of, record_of
from consumers.rollout.rules import Facts, rule_for
from consumers.rollout.words import Words
from pipeline.halt.safety import UNNAMED, SafetyRecord
from pipeline.wire.events import MAX_TEXT_CHARS
from pipeline.wire.halts import Evidence, Halt
from pipeline.wire.record_keys import parse_key
from pipeline.wire.verdicts import FleetHeartbeat

Action = Literal["halt", "resume"]
_ELSEWHERE = "\0"  # a ring that no record names


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Stop the update in these rings, or let it go on there.

    `rings` is `("*",)` for every ring but `except_rings`. (`key`, `epoch`, `action`) is what is acknowledged. `doubt`
    says why the newest record of the key is not to be believed, "" when it is: then the halt is obeyed because nobody
    can say that there is none, and all else is of the last record that was believed, if there was one. Times in unix
    ms, 0 when no record says. All text may be quoted from endpoints.
    """

    action: Action
    fleet: str
    vendor: str
    product: str
    version: str
    rings: tuple[str, ...]
    except_rings: tuple[str, ...] = ()
    epoch: int
    key: str
    reason: str
    decided_by: str = ""
    doubt: str = ""
    issued_at: int = 0
    expires_at: int = 0
    evidence: Evidence | None = None

    @property
    def identity(self) -> tuple[int, Action, tuple[str, ...], tuple[str, ...]]:
        """What makes it another order of its key; a renewal is none."""
        return self.epoch, self.action, self.rings, self.except_rings


class _Known(NamedTuple):
    """What the orders of one key are made from."""

    key: str
    names: tuple[str, ...]  # fleet, vendor, product, version
    halt: Halt | None
    doubt: str
    epoch: int
    detector: str
    named: str  # how the table sees the record in the rings that it names
    others: str  # and in all others


class _Heard(NamedTuple):
    """What the orders of a fleet's keys depend on beside the records of each."""

    beat: FleetHeartbeat | None
    detector: str
    named: Mapping[str, int]
    hides: bool
    at_ms: int  # no earlier than the heartbeat: a clock that is behind keeps no resume alive


class Orders:
    """What holds now, of every key of some fleets. Follows a record, alone: it looks only at what has changed."""

    def __init__(self, record: SafetyRecord, fleets: Collection[str]) -> None:
        self._record = record
        self._heard = {fleet: _Heard(None, "silent", {}, hides=False, at_ms=0) for fleet in sorted(set(fleets))}
        self._made: dict[str, tuple[_Known, tuple[Order, ...]]] = {}
        self._ends: dict[str, list[tuple[int, str]]] = {fleet: [] for fleet in self._heard}  # heaps of expiries
        self._until: dict[str, int] = {}  # by key: which of them is there

    def changes(self, now_ms: int) -> dict[str, tuple[Order, ...]]:
        """By halt key, in the order in which they are to be obeyed (what is to be stopped first): what holds from now
        on of each key of which that is not what it was, empty where nothing is to be done any more."""
        keys, self._record.touched = self._record.touched, set()
        for fleet in self._heard:
            keys |= self._passed(fleet, now_ms)
        found = {}
        for key in keys:
            names = parse_key(key)
            if len(names) == 4 and names[0] in self._heard and _is_update(names):
                before, after = self._made.get(key), self._make(key, names)
                if after is not before and after[1] != (before[1] if before is not None else ()):
                    found[key] = after[1]
        return found

    def _passed(self, fleet: str, now_ms: int) -> set[str]:
        """Keys whose orders may have changed by what the detector says, or does not, and by time."""
        before, record, accounted = self._heard[fleet], self._record, self._record.accounted(fleet)
        beat, ends = record.beats.get(fleet), self._ends[fleet]
        detector = detector_of(beat, record.is_heard(fleet, now_ms))
        at_ms = max(now_ms, beat.at if beat is not None else 0)
        now = self._heard[fleet] = _Heard(beat, detector, accounted.named, accounted.hides, at_ms)
        keys: set[str] = set()
        if now.at_ms < before.at_ms or before.hides != now.hides or (now.hides and before.beat is not now.beat):
            keys |= {key for key, (known, _) in self._made.items() if known.names[0] == fleet}
        if before.beat is not now.beat:
            keys |= {key for key, _ in before.named.items() ^ now.named.items()}
        if before.detector != now.detector:
            keys |= accounted.resumed
        while ends and ends[0][0] <= at_ms:
            expires_at, key = heapq.heappop(ends)
            keys.add(key)
            if self._until.get(key) == expires_at:
                del self._until[key]
        return keys

    def _make(self, key: str, names: tuple[str, ...]) -> tuple[_Known, tuple[Order, ...]]:
        record, heard = self._record, self._heard[names[0]]
        halt, doubt = record.halts.get(key), record.doubt_of(names[0], key)
        if halt is None and doubt == UNNAMED:
            doubt = ""  # halts without a name concern keys that are known: to name all others takes the gate's caller
        epoch = max(halt.epoch if halt is not None else 1, heard.named.get(key, 1) if doubt else 1)
        ring = halt.rings[0] if halt is not None and halt.rings else _ELSEWHERE
        places = record_of(halt, ring, heard.at_ms), record_of(halt, _ELSEWHERE, heard.at_ms)
        known = _Known(key, names, halt, doubt, epoch, heard.detector, *places)
        if halt is not None and heard.at_ms < halt.expires_at != self._until.get(key):
            self._until[key] = halt.expires_at
            heapq.heappush(self._ends[names[0]], (halt.expires_at, key))
        made = self._made.get(key)
        if made is None or made[0] != known:
            words = Words(heard.at_ms, "", halt, None, heard.beat, doubt, "").places()
            made = self._made[key] = known, tuple(_orders(known, words))
        return made


def _is_update(names: tuple[str, ...]) -> bool:
    """Whether an update can be called so: what is written under another key concerns none."""
    return all(0 < len(name) <= MAX_TEXT_CHARS for name in names)


def _orders(known: _Known, words: Mapping[str, str]) -> list[Order]:
    rings = known.halt.rings if known.halt is not None and known.halt.rings else (EVERY_RING,)
    here = _order(known, words, known.named, rings, ())
    there = _order(known, words, known.others, (EVERY_RING,), rings) if EVERY_RING not in rings else None
    if here is not None and there is not None and here.action == there.action:
        return [msgspec.structs.replace(there, except_rings=())]
    # A halt first: who begins anew may have to stop all before some rings are let go on.
    return [each for each in (there, here) if each is not None]


def _order(
    known: _Known, words: Mapping[str, str], record: str, rings: tuple[str, ...], except_rings: tuple[str, ...]
) -> Order | None:
    """What the table says of these rings; None when there is nothing to do."""
    doubt = "yes" if known.doubt else "no"
    rule = rule_for(Facts("read", record, doubt, known.detector, verdict="none", alarm="none", shadow="watching"))
    if rule.permission not in ("never", "yes"):
        return None
    halt = known.halt
    fleet, vendor, product, version = known.names
    return Order(
        action="halt" if rule.permission == "never" else "resume",
        fleet=fleet,
        vendor=vendor,
        product=product,
        version=version,
        rings=rings,
        except_rings=except_rings,
        epoch=known.epoch,
        key=known.key,
        reason=rule.reason.format_map(words),
        decided_by=halt.decided_by if halt is not None else "",
        doubt=known.doubt,
        issued_at=halt.issued_at if halt is not None else 0,
        expires_at=halt.expires_at if halt is not None else 0,
        evidence=halt.evidence if halt is not None else None,
    )
