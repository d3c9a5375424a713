"""A fleet's ledger: what its chain of the audit says has been answered, is proposed, and is still to be done again.
Pure; times in unix ms."""

from collections import deque
from collections.abc import Iterable

from pipeline.halt.approval import SignedCommand
from pipeline.halt.chain import Head
from pipeline.halt.verify import UNREADABLE, TrustedKeys
from pipeline.wire.audit import AuditEntry, encode_entry, entry_digest
from pipeline.wire.commands import MAX_AGE_MS, PROPOSALS, decode_command
from pipeline.wire.halts import Halt, decode_halt

REPLAYED = "replayed"  # the refusal of a command whose id was seen before


class Ledger:
    """One fleet. `taken` is given every entry of its chain in order, once."""

    def __init__(self) -> None:
        self.head = Head()
        self.again: deque[AuditEntry] = deque()  # entries whose effect the fleet's state does not hold yet
        self.answered: dict[str, tuple[int, int]] = {}  # by command id: partition and offset
        self.replays_refused: set[str] = set()  # ids
        self._proposals: dict[str, SignedCommand] = {}  # those that may be approved, by id
        self._epochs: dict[str, int] = {}  # by halt key: the newest that an entry holds
        self._rings: dict[str, tuple[str, ...]] = {}  # by halt key: those of its newest halt

    def take_up(self, entries: Iterable[AuditEntry], head: Head, held: Head, trusted: TrustedKeys) -> bool:
        """Begin with what the topic holds; `held` is how far the fleet's state holds it. Whether the topic holds at
        least that: if not, it has lost entries, and what comes is chained to those that it lost."""
        for entry in entries:
            self.taken(entry, trusted)
            if entry.seq > held.seq and (entry.effect or entry.halt) and entry.kind != "issued":
                self.again.append(entry)
        self.head = max(head, held)
        return head.seq >= held.seq

    def append(self, entry: AuditEntry, trusted: TrustedKeys) -> None:
        """An entry that was written behind the head."""
        self.head = Head(entry.seq, entry_digest(encode_entry(entry)))
        self.taken(entry, trusted)

    def taken(self, entry: AuditEntry, trusted: TrustedKeys) -> None:
        """What follows from an entry for those to come."""
        if halt := halt_of(entry):
            self._said(halt)
        if not entry.command:
            return
        try:
            command = decode_command(entry.command.encode())
        except UNREADABLE:
            return  # no entry of ours
        if entry.why == REPLAYED:
            self.replays_refused.add(command.id)
            return
        place = entry.command_place
        self.answered[command.id] = (place.partition, place.offset) if place is not None else (-1, -1)
        owner = trusted.get(command.kid)
        if entry.outcome == "applied" and command.kind in PROPOSALS and owner is not None:
            self._proposals[command.id] = SignedCommand(command, entry.command.encode(), owner)
        elif entry.outcome == "applied" and command.kind in ("approve", "withdraw"):
            self._proposals.pop(command.approves, None)

    def _said(self, halt: Halt) -> None:
        self._epochs[halt.key] = max(halt.epoch, self._epochs.get(halt.key, 0))
        if halt.action == "halt":
            self._rings[halt.key] = halt.rings

    def proposals(self, now_ms: int, trusted: TrustedKeys) -> dict[str, SignedCommand]:
        """Those that may be approved now: young enough, and of operators who are still trusted."""
        oldest_ms = now_ms - 2 * MAX_AGE_MS  # older ones are told from unknown ones for a while
        self._proposals = {id: found for id, found in self._proposals.items() if found.command.at >= oldest_ms}
        return {id: found for id, found in self._proposals.items() if found.command.kid in trusted}

    def has_said(self, halt: Halt) -> bool:
        """Whether an entry holds this record of `fleet.halts`, or a newer one."""
        return self._epochs.get(halt.key, 0) >= halt.epoch

    def rings(self, key: str) -> tuple[str, ...]:
        """Of the newest halt of a key, whatever has lifted it since; none when none is known."""
        return self._rings.get(key, ())

    def is_ahead(self, key: str) -> bool:
        """Whether people have decided later on this halt key, at a place to which reading has not come again."""
        return any((halt := halt_of(entry)) is not None and halt.key == key for entry in self.again)


def halt_of(entry: AuditEntry) -> Halt | None:
    """The record of `fleet.halts` that it holds, if it does."""
    try:
        return decode_halt(entry.halt.encode()) if entry.halt else None
    except UNREADABLE:
        return None  # no entry of ours
