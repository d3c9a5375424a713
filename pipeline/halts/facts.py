"""What is to be said of a halt: how it stands, who obeyed and how fast, whether the update still spreads. Pure; times
in unix ms, `now_ms` comes in."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from pipeline.halt.merit import last_install_of, seconds_to_last_install
from pipeline.halt.proposals import Proposed
from pipeline.halt.safety import DOUBTS, SafetyRecord
from pipeline.wire.acks import HaltAck
from pipeline.wire.halts import Halt
from pipeline.wire.record_keys import parse_key, update_key
from pipeline.wire.verdicts import Verdict

UNANSWERED = "unanswered"
DONE = ("confirmed", "effective")
ORDER = ("unknown", "expired", "standing", "pending", "shadow", "resumed", "none")


class Obeyed(msgspec.Struct, kw_only=True):
    """What a subscriber did with one order. Seconds are from the order to its word, by its own clock; None: it has not
    said so, or the order's first record is no longer there."""

    subscriber: str
    status: str
    seconds_to_requested: float | None = None
    seconds_to_confirmed: float | None = None
    seconds_to_effective: float | None = None
    detail: str = ""

    @property
    def has_confirmed(self) -> bool:
        """Whether it said, at some time, that the order holds."""
        return self.seconds_to_confirmed is not None or self.status in DONE


class Source(Protocol):
    """Where it all comes from, as `Known` has it: the safety record, acknowledgements, when orders were made (unix ms,
    by halt key and epoch), and whose acknowledgements are waited for."""

    @property
    def record(self) -> SafetyRecord:
        """What stands halted."""

    @property
    def acks(self) -> Sequence[HaltAck]:
        """Believed ones."""

    @property
    def issued(self) -> Mapping[tuple[str, int], int]:
        """Of each order's first record that is known."""

    @property
    def subscribers(self) -> Sequence[str]:
        """Names."""


class Row(msgspec.Struct, kw_only=True):
    """One update as `andon halts` sees it; `state` is one of ORDER. `spreading_hosts_per_minute`, `flat_since` and
    `last_install` are as in verdicts, times of the events. `crashed_hosts` are all with it, in all rings: at the
    decision as the halt has it, and by now, of each ring as of its newest verdict; None where nothing says so.
    `proposals` wait for another operator. `doubted_for`: what later evidence speaks for instead of a halted update."""

    key: str
    state: str
    why: str
    halt: Halt | None = None
    verdicts: list[Verdict] = []
    obeyed: list[Obeyed] = []
    spreading_hosts_per_minute: float | None = None
    flat_since: int = 0
    last_install: int = 0
    seconds_decision_to_last_install: float | None = None
    crashed_hosts_at_decision: int | None = None
    crashed_hosts_by_now: int | None = None
    proposals: list[Proposed] = []
    doubted_for: list[str] = []


def rows(known: Source, now_ms: int, fleet: str = "") -> list[Row]:
    """Everything that was halted, waits or is in doubt; of one fleet, or of all. What asks for a person first."""
    record = known.record
    keys = {*record.halts, *(doubt.key for doubt in record.doubts())}
    keys |= {_key_of(verdict) for verdict in record.verdicts.values() if verdict.state == "pending"}
    about: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in record.verdicts.values():
        about[_key_of(verdict)].append(verdict)
    acks: defaultdict[str, list[HaltAck]] = defaultdict(list)
    for ack in known.acks:
        acks[ack.halt_key].append(ack)
    wanted = (key for key in keys if not fleet or parse_key(key)[0] == fleet)
    found = (_row(known, key, about.get(key, []), acks.get(key, []), now_ms) for key in wanted)
    return sorted(found, key=lambda row: (ORDER.index(row.state), row.key))


def row_of(known: Source, key: str, now_ms: int) -> Row:
    """One update; of one that nobody ever halted the state is "none"."""
    return _row(known, key, [v for v in known.record.verdicts.values() if _key_of(v) == key], known.acks, now_ms)


def _row(known: Source, key: str, about: Iterable[Verdict], acks: Iterable[HaltAck], now_ms: int) -> Row:
    record, halt = known.record, known.record.halts.get(key)
    verdicts = sorted(about, key=lambda verdict: verdict.ring)
    state, why = _state(record, key, halt, verdicts, now_ms)
    row = Row(key=key, state=state, why=why, halt=halt, verdicts=verdicts)
    if halt is not None:
        row.obeyed = obedience(acks, halt, known.issued.get((key, halt.epoch), 0), known.subscribers)
    newest = max(verdicts, key=lambda verdict: verdict.at, default=None)
    if newest is not None:
        row.doubted_for = sorted({name for verdict in verdicts for name in verdict.doubted_for})
        row.crashed_hosts_by_now = sum(verdict.crashed_hosts for verdict in verdicts)
        row.spreading_hosts_per_minute = newest.spreading_hosts_per_minute
        row.flat_since, row.last_install = newest.flat_since, last_install_of(verdicts)
    if halt is not None:
        row.seconds_decision_to_last_install = seconds_to_last_install(halt, row.last_install)
        row.crashed_hosts_at_decision = None if halt.evidence is None else halt.evidence.crashed_hosts
    return row


def _state(
    record: SafetyRecord, key: str, halt: Halt | None, verdicts: Iterable[Verdict], now_ms: int
) -> tuple[str, str]:
    """The state, and why it is that in words."""
    doubt = record.doubt_of(parse_key(key)[0], key) or next((d.reason for d in record.doubts() if d.key == key), "")
    if doubt:
        return "unknown", DOUBTS[doubt]
    answered = halt.issued_at if halt is not None and halt.action == "resume" else -1
    if halt is not None and halt.action == "halt":
        if halt.expires_at <= now_ms:
            return "expired", "not renewed: the detector is silent; only a resume lifts it"
        return "standing", halt.reason
    if any(verdict.state == "pending" and verdict.at > answered for verdict in verdicts):
        return "pending", "decided, and waits for a person"
    if halt is not None:
        if halt.expires_at <= now_ms:
            return "standing", "the resume has ended: the halt stands again"
        return "resumed", halt.reason
    if any(verdict.state == "shadow_halted" for verdict in verdicts):
        return "shadow", "it would be halted, were its policy not in shadow"
    return "none", "nobody has halted it"


def obedience(acks: Iterable[HaltAck], halt: Halt, issued_ms: int, subscribers: Iterable[str] = ()) -> list[Obeyed]:
    """Who obeyed this order: everyone who has said something to it, and of `subscribers` those who have not.

    `issued_ms`: when its first record was made, 0 when that is not known.
    """
    said: dict[str, list[HaltAck]] = {name: [] for name in subscribers}
    for ack in acks:
        if (ack.halt_key, ack.epoch, ack.action) == (halt.key, halt.epoch, halt.action):
            said.setdefault(ack.subscriber, []).append(ack)
    return [_obeyed(name, found, issued_ms) for name, found in sorted(said.items())]


def _obeyed(name: str, acks: list[HaltAck], issued_ms: int) -> Obeyed:
    if not acks:
        return Obeyed(subscriber=name, status=UNANSWERED)
    newest = max(acks, key=lambda ack: ack.at)
    return Obeyed(
        subscriber=name,
        status=newest.status,
        seconds_to_requested=_first(acks, ("requested",), issued_ms),
        seconds_to_confirmed=_first(acks, DONE, issued_ms),
        seconds_to_effective=_first(acks, ("effective",), issued_ms),
        detail=newest.detail,
    )


def _first(acks: list[HaltAck], statuses: tuple[str, ...], issued_ms: int) -> float | None:
    moments = [ack.at for ack in acks if ack.status in statuses]
    return (min(moments) - issued_ms) / 1000 if moments and issued_ms else None


def _key_of(verdict: Verdict) -> str:
    return update_key(verdict.fleet, verdict.vendor, verdict.product, verdict.version)
