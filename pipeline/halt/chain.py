"""A fleet's chain of the audit: whether it is whole, and where it goes on. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from pipeline.halt.believe import believed_entry
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.verify import UNREADABLE, TrustedKeys
from pipeline.wire.audit import FIRST, AuditEntry, decode_entry, entry_digest
from pipeline.wire.record_keys import fleet_of

# What a chain can have wrong with it.
FAULTS = {
    "changed": "it is not as a detector's key signed it",
    "missing": "entries are missing before it",
    "reordered": "it stands where another entry belongs",
    "forked": "another entry has its number",
    "duplicated": "the same entry stands there twice",
    "unlinked": "the entry before is not the one that it was written behind",
    "cut": "the newest entries are missing: the fleet's heartbeat, or its archive, knows of more",
}
FaultKind = Literal["changed", "missing", "reordered", "forked", "duplicated", "unlinked", "cut"]


class AuditRecord(NamedTuple):
    """A record of `fleet.audit` as it stands there, and where."""

    key: bytes | None
    value: bytes | None
    partition: int = 0
    offset: int = 0


class Fault(NamedTuple):
    """What is wrong at an entry, which number it has or claims (-1: it claims none), and where it stands."""

    fleet: str
    seq: int
    kind: FaultKind
    where: str
    detail: str = ""

    @property
    def words(self) -> str:
        """For people."""
        return f"{FAULTS[self.kind]}{f' ({self.detail})' if self.detail else ''}"


class Head(NamedTuple):
    """The newest entry of a chain: its number, and its digest, which the next one carries."""

    seq: int = -1
    digest: str = FIRST


class Linked(NamedTuple):
    """An entry that is believed, and its digest."""

    entry: AuditEntry
    digest: str


class Found(NamedTuple):
    """What a fleet's records were found to be."""

    entries: list[AuditEntry]  # in the order of the chain
    head: Head
    faults: list[Fault]


def by_fleet(records: Iterable[AuditRecord]) -> dict[str, list[AuditRecord]]:
    """The records of each fleet's chain, in their order."""
    found: dict[str, list[AuditRecord]] = defaultdict(list)
    for record in records:
        found[fleet_of(record.key)].append(record)
    return dict(found)


def examined(fleet: str, records: Sequence[AuditRecord], trusted: TrustedKeys) -> Found:
    """A fleet's chain, and every fault of it."""
    read = [_read(record, trusted) for record in records]
    faults = list(_faults(fleet, records, read))
    entries, head = _longest([each for each in read if isinstance(each, Linked)])
    return Found(entries, head, faults)


def _read(record: AuditRecord, trusted: TrustedKeys) -> Linked | str:
    if record.value is None:
        return "erased"
    try:
        return Linked(believed_entry(record.key, record.value, trusted), entry_digest(record.value))
    except UntrustedRecord as error:
        return error.reason


def _faults(fleet: str, records: Sequence[AuditRecord], read: Sequence[Linked | str]) -> Iterator[Fault]:
    numbers = {_number(*each) for each in zip(records, read, strict=True)}
    seen: dict[int, set[str]] = defaultdict(set)
    following, before = 0, FIRST  # before: the digest that the next one must name; "" when that cannot be known
    for record, found in zip(records, read, strict=True):
        where, number = f"partition {record.partition}, offset {record.offset}", _number(record, found)
        if isinstance(found, str):
            yield Fault(fleet, number, "changed", where, found)
            if number == following:
                following, before = number + 1, ""
            continue
        if found.digest in seen[number]:
            yield Fault(fleet, number, "duplicated", where)
        elif seen[number]:
            yield Fault(fleet, number, "forked", where)
        elif number < following:
            yield Fault(fleet, number, "reordered", where)
        else:
            if missing := [n for n in range(following, number) if n not in numbers]:
                yield Fault(fleet, number, "missing", where, _span(missing))
            if number == following and before not in ("", found.entry.prev):
                yield Fault(fleet, number, "unlinked", where)
            elif number > following and not missing:
                yield Fault(fleet, number, "reordered", where)
            following, before = number + 1, found.digest
        seen[number].add(found.digest)


def _number(record: AuditRecord, found: Linked | str) -> int:
    if isinstance(found, Linked):
        return found.entry.seq
    try:
        return decode_entry(record.value or b"").seq
    except UNREADABLE:
        return -1


def _span(numbers: Sequence[int]) -> str:
    return f"number {numbers[0]}" if len(numbers) == 1 else f"numbers {numbers[0]} to {numbers[-1]}"


def _longest(links: Sequence[Linked]) -> tuple[list[AuditEntry], Head]:
    """The chain behind the highest number. Where writers have split it, that is the branch which was gone on with."""
    by_digest = {link.digest: link for link in links}
    if not by_digest:
        return [], Head()
    newest = max(links, key=lambda link: link.entry.seq)  # of several, the first
    chain: list[AuditEntry] = []
    at: Linked | None = newest
    while at is not None:
        chain.append(at.entry)
        before = by_digest.get(at.entry.prev)
        at = before if before is not None and before.entry.seq == at.entry.seq - 1 else None
    return chain[::-1], Head(newest.entry.seq, newest.digest)
