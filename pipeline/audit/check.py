"""What is to be said of an audit: of each fleet its chain, its faults, and whether what must be there is. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline.halt.believe import TrustedKeys
from pipeline.halt.chain import AuditRecord, Fault, Head, by_fleet, examined
from pipeline.wire.audit import entry_digest


class Checked(NamedTuple):
    """A fleet's audit in one place."""

    fleet: str
    place: str
    entries: int
    head: Head
    faults: list[Fault]


def check(place: str, records: Iterable[AuditRecord], trusted: TrustedKeys, known: Mapping[str, Head]) -> list[Checked]:
    """Each fleet's chain, held against what is known of its end: from a signed heartbeat, or from another place."""
    held = by_fleet(records)
    return [_checked(place, fleet, held.get(fleet, []), trusted, known) for fleet in sorted({*held, *known})]


def _checked(
    place: str, fleet: str, records: list[AuditRecord], trusted: TrustedKeys, known: Mapping[str, Head]
) -> Checked:
    entries, head, faults = examined(fleet, records, trusted)
    must = known.get(fleet, Head())
    if must.seq > head.seq:
        faults.append(Fault(fleet, head.seq, "cut", "the end", f"number {must.seq} is known"))
    elif must.seq >= 0 and must.digest not in {entry_digest(record.value or b"") for record in records}:
        faults.append(Fault(fleet, must.seq, "forked", "the chain", "the entry that is known is not in it"))
    return Checked(fleet, place, len(entries), head, faults)


def joined(*heads: Mapping[str, Head]) -> dict[str, Head]:
    """The highest of each fleet."""
    found: dict[str, Head] = {}
    for each in heads:
        for fleet, head in each.items():
            found[fleet] = max(head, found.get(fleet, head), key=lambda known: known.seq)
    return found
