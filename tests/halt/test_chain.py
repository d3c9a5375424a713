"""A chain of the audit shows what was changed, left out, moved, added or repeated."""

from collections.abc import Callable

import pytest
from support.rollout_world import DETECTOR, NOW, STRANGER, TRUSTED

from pipeline.audit.check import check
from pipeline.halt.chain import AuditRecord, Head, examined
from pipeline.wire.audit import FIRST, AuditEntry, Place, encode_entry, entry_digest

Records = list[AuditRecord]


def chain(length: int, prev: str = FIRST, start: int = 0, detail: str = "", fleet: str = "acme") -> Records:
    """Entries one behind the other."""
    found = []
    for seq in range(start, start + length):
        entry = AuditEntry(
            kind="answer", fleet=fleet, seq=seq, prev=prev, at=NOW + seq, partials=Place(0, seq), detail=detail
        )
        raw = encode_entry(DETECTOR.sign_word(entry))
        found.append(AuditRecord(fleet.encode(), raw, 0, seq))
        prev = entry_digest(raw)
    return found


def digest(record: AuditRecord) -> str:
    return entry_digest(record.value or b"")


def changed(records: Records) -> Records:
    """A word of the third is another."""
    raw = (records[2].value or b"").replace(b'"outcome":"applied"', b'"outcome":"refused"')
    return [*records[:2], records[2]._replace(value=raw), *records[3:]]


def erased(records: Records) -> Records:
    return [*records[:2], records[2]._replace(value=None), *records[3:]]


def strangers(records: Records) -> Records:
    """Nobody of ours signed the last one."""
    entry = AuditEntry(kind="lapse", fleet="acme", seq=5, prev=digest(records[-1]), at=NOW, partials=Place(0, 0))
    return [*records, AuditRecord(b"acme", encode_entry(STRANGER.sign_word(entry)))]


def forked(records: Records) -> Records:
    """Two writers: the second goes on behind the third entry."""
    return [*records, *chain(1, digest(records[2]), 3, "another")]


def replaced(records: Records) -> Records:
    """The third is one that a detector's key signed, but not the one that the fourth was written behind."""
    return [*records[:2], *chain(1, digest(records[1]), 2, "another"), *records[3:]]


FAULTS: list[tuple[str, Callable[[Records], Records], list[tuple[str, int]]]] = [
    ("whole", lambda records: records, []),
    ("changed", changed, [("changed", 2)]),
    ("erased", erased, [("changed", -1), ("missing", 3)]),
    ("strangers", strangers, [("changed", 5)]),
    ("first missing", lambda records: records[1:], [("missing", 1)]),
    ("one missing", lambda records: [*records[:2], *records[3:]], [("missing", 3)]),
    ("reordered", lambda r: [*r[:1], r[2], r[1], *r[3:]], [("reordered", 2), ("reordered", 1)]),
    ("forked", forked, [("forked", 3)]),
    ("duplicated", lambda records: [*records, records[1]], [("duplicated", 1)]),
    ("replaced", replaced, [("unlinked", 3)]),
]


@pytest.mark.parametrize(("disturb", "expected"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_each_fault_is_found(disturb: Callable[[Records], Records], expected: list[tuple[str, int]]) -> None:
    """What is wrong is named, at the entry where it shows, and nothing else is."""
    faults = examined("acme", disturb(chain(5)), TRUSTED).faults
    assert [(fault.kind, fault.seq) for fault in faults] == expected
    assert all(fault.words for fault in faults)


def test_a_missing_end_is_found() -> None:
    """The chain itself cannot show it: a signed heartbeat, or the archive, knows of more."""
    records = chain(5)
    known = {"acme": Head(4, digest(records[4])), "zeta": Head(0, "f" * 64)}
    acme, zeta = check("Kafka", records[:4], TRUSTED, known)
    assert [fault.kind for fault in acme.faults + zeta.faults] == ["cut", "cut"]
    acme, zeta = check("Kafka", [*records, *chain(1, fleet="zeta")], TRUSTED, known)
    assert [fault.kind for fault in acme.faults + zeta.faults] == ["forked"]  # another zeta's


def test_a_split_chain_goes_on_where_it_was_gone_on_with() -> None:
    """Of two entries of one number, the one that has followers is the chain's."""
    records = chain(3)
    other = chain(1, digest(records[1]), 2, "a writer that was cut off")
    on = chain(2, digest(records[2]), 3)
    found = examined("acme", [*records[:2], *other, *records[2:], *on], TRUSTED)
    assert [entry.detail for entry in found.entries] == [""] * 5
    assert found.head == Head(4, digest(on[-1]))
