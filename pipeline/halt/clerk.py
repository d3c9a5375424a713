"""The clerk of a process: knows every fleet's ledger, and writes the entries that come next, signed. Pure: entries are
given to somebody who appends them, and are `written` then."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import msgspec

from pipeline.decide.orders import Ruling, Stance
from pipeline.halt.approval import believed_command
from pipeline.halt.chain import AuditRecord, Fault, Head, examined
from pipeline.halt.commanded import Answer, Known, answer, refused
from pipeline.halt.errors import MalformedRecord
from pipeline.halt.issuer import HaltIssuer
from pipeline.halt.ledger import REPLAYED, Ledger, halt_of
from pipeline.wire.audit import AuditEntry, EntryKind, Place, encode_entry, entry_digest
from pipeline.wire.commands import MAX_AGE_MS, MAX_COMMAND_BYTES, Command
from pipeline.wire.halts import Halt, encode_halt
from pipeline.wire.partials import UpdateId

StanceOf = Callable[[UpdateId], Stance]


class Clerk:
    """One per process. Times in unix ms."""

    def __init__(self, issuer: HaltIssuer) -> None:
        self._issuer = issuer
        self._ledgers: defaultdict[str, Ledger] = defaultdict(Ledger)  # by fleet

    def forget(self) -> None:
        """Know nothing."""
        self._ledgers.clear()

    def take_up(self, fleet: str, audit: Sequence[AuditRecord], held: Head) -> list[Fault]:
        """Begin with what a fleet's audit holds; `held` is how far the fleet's state includes it. What is wrong."""
        found = examined(fleet, audit, self._issuer.trusted)
        if not self.ledger(fleet).take_up(found.entries, found.head, held, self._issuer.trusted):
            found.faults.append(Fault(fleet, found.head.seq, "cut", "the end", f"number {held.seq} is known"))
        return found.faults

    def ledger(self, fleet: str) -> Ledger:
        """Of a fleet, of which nothing may be known."""
        return self._ledgers[fleet]

    def command(
        self, fleet: str, record: tuple[bytes | None, bytes, int], place: Place, stance_of: StanceOf | None, now_ms: int
    ) -> tuple[Answer, AuditEntry] | None:
        """The answer to a command, and the entry that comes next; None when it was answered before.

        Args:
            record: its key, its bytes, and when the brokers wrote them down.
            place: where it stands.
            stance_of: the fleet's detector's; None when there is none.

        Raises:
            UntrustedRecord: when it is no command of a trusted operator.
        """
        key, raw, appended_at_ms = record
        if len(raw) > MAX_COMMAND_BYTES:
            raise MalformedRecord(f"{len(raw)} bytes, at most {MAX_COMMAND_BYTES}")
        signed, ledger = believed_command(key, raw, self._issuer.trusted), self._ledgers[fleet]
        before = ledger.answered.get(signed.command.id)
        if before == (place.partition, place.offset):
            return None
        if before is not None:
            if signed.command.id in ledger.replays_refused or now_ms - appended_at_ms > MAX_AGE_MS:
                return None  # it was said once; whoever repeats it for ever does not fill the audit
            found = refused(REPLAYED, "a command of this id was answered before")
        elif stance_of is None:
            found = refused("unknown_fleet", "no event of this fleet has come; names compare letter by letter")
        else:
            found = answer(signed, appended_at_ms, self._known(signed.command, stance_of, now_ms))
        return found, self._entry(
            "answer",
            fleet,
            now_ms,
            None if found.halt is None else self._issuer.sign(found.halt),
            command=raw.decode(),
            command_place=place,
            outcome=found.outcome,
            why=found.why,
            detail=found.detail,
            effect=found.effect,
            rings=found.rings,
        )

    def _known(self, command: Command, stance_of: StanceOf, now_ms: int) -> Known:
        register, ledger = self._issuer.register, self._ledgers[command.fleet]
        return Known(
            newest=register.newest(command.key),
            floor=register.floor(command.key),
            rings=ledger.rings(command.key),
            stance=stance_of(UpdateId(command.vendor, command.product, command.version)),
            proposals=ledger.proposals(now_ms, self._issuer.trusted),
            lifetime_ms=self._issuer.lifetime_ms,
            now_ms=now_ms,
        )

    def lapse(self, resume: Halt, now_ms: int) -> AuditEntry:
        """The entry of a resume that is over, with the halt that stands again."""
        rings = self._ledgers[resume.fleet].rings(resume.key)
        halt = self._issuer.standing_again(resume, rings, now_ms)
        return self._entry("lapse", resume.fleet, now_ms, halt, effect="lapsed", rings=halt.rings)

    def issued(self, fleet: str, halt_key: str, now_ms: int) -> AuditEntry | None:
        """The entry of the newest record of a halt key, None when there is one."""
        halt = self._issuer.register.newest(halt_key)
        if halt is None or self._ledgers[fleet].has_said(halt):
            return None
        return self._entry("issued", fleet, now_ms, halt)

    def _entry(self, kind: EntryKind, fleet: str, now_ms: int, halt: Halt | None, **more: object) -> AuditEntry:
        head = self._ledgers[fleet].head
        entry = AuditEntry(kind=kind, fleet=fleet, seq=head.seq + 1, prev=head.digest, at=now_ms, partials=Place(0, 0))
        text = "" if halt is None else encode_halt(halt).decode()
        return msgspec.structs.replace(entry, halt=text, **more)

    def written(self, entry: AuditEntry, partials: Place) -> tuple[AuditEntry, bytes]:
        """The entry as it is to be appended, to hold from this partial on; and its bytes. `append` comes after."""
        signed = self._issuer.signed(msgspec.structs.replace(entry, partials=partials))
        return signed, encode_entry(signed)

    def append(self, entry: AuditEntry) -> None:
        """The brokers have it."""
        self._ledgers[entry.fleet].append(entry, self._issuer.trusted)


def head_of(entry: AuditEntry) -> Head:
    """A chain that ends with it."""
    return Head(entry.seq, entry_digest(encode_entry(entry)))


def ruling_of(entry: AuditEntry) -> Ruling | None:
    """What the fleet's detector hears of it."""
    halt = halt_of(entry)
    if not entry.effect or halt is None:
        return None
    return Ruling(entry.effect, UpdateId(halt.vendor, halt.product, halt.version), entry.rings)
