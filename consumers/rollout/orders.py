"""What a rollout system is to do with an update, by the gate's own table: what the gate answers `never` to is stopped,
what operators resumed goes on. Pure."""

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

import msgspec

from consumers.rollout.gate import EVERY_RING, detector_of, record_of
from consumers.rollout.rules import Facts, rule_for
from consumers.rollout.words import Words
from pipeline.halt.safety import UNNAMED, SafetyRecord
from pipeline.wire.events import MAX_TEXT_CHARS
from pipeline.wire.halts import Evidence, Halt
from pipeline.wire.record_keys import parse_key, update_key

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


class Orders:
    """What holds now, of every key of some fleets; made anew only where something has changed."""

    def __init__(self, fleets: Collection[str]) -> None:
        self._fleets = frozenset(fleets)
        self._made: dict[str, tuple[_Known, tuple[Order, ...]]] = {}

    def of(self, record: SafetyRecord, now_ms: int) -> dict[str, tuple[Order, ...]]:
        """By halt key, in the order in which they are to be obeyed: what is to be stopped first. A key of which there
        is nothing to do is left out."""
        doubts = {doubt.key: doubt.reason for doubt in record.doubts()}
        named = {
            each.key: each.epoch
            for fleet in self._fleets
            if (beat := record.beats.get(fleet)) is not None
            for each in beat.standing or ()
        }
        detectors = {
            fleet: detector_of(record.beats.get(fleet), record.is_heard(fleet, now_ms)) for fleet in self._fleets
        }
        found: dict[str, tuple[Order, ...]] = {}
        for key in record.halts.keys() | doubts.keys():
            names = parse_key(key)
            if len(names) != 4 or names[0] not in self._fleets or not _is_update(names):
                continue
            halt, beat = record.halts.get(key), record.beats.get(names[0])
            doubt = doubts.get(key, "") or self._unnamed(record, key, names[0], doubts)
            # What the detector signed of late is no later than now: a clock that is behind keeps no resume alive.
            at_ms = max(now_ms, beat.at if beat is not None else 0)
            epoch = max(halt.epoch if halt is not None else 1, named.get(key, 1) if doubt else 1)
            ring = halt.rings[0] if halt is not None and halt.rings else _ELSEWHERE
            places = record_of(halt, ring, at_ms), record_of(halt, _ELSEWHERE, at_ms)
            known = _Known(key, names, halt, doubt, epoch, detectors[names[0]], *places)
            made = self._made.get(key)
            if made is None or made[0] != known:
                words = Words(at_ms, "", halt, None, beat, doubt, "").places()
                made = self._made[key] = known, tuple(_orders(known, words))
            if made[1]:
                found[key] = made[1]
        return found

    @staticmethod
    def _unnamed(record: SafetyRecord, key: str, fleet: str, doubts: Mapping[str, str]) -> str:
        """Of a fleet that hides halts, every key that is not shown as halted is in doubt."""
        return record.doubt_of(fleet, key) if doubts.get(fleet_key(fleet)) == UNNAMED else ""


def fleet_key(fleet: str) -> str:
    """Under which a fleet's halts without a name stand among the doubts."""
    return update_key(fleet, "", "", "").rstrip("/")


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
    rule = rule_for(Facts("read", record, doubt, known.detector, verdict="none", shadow="watching"))
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
