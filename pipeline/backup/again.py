"""What goes onto the topics of a cluster that begins anew, given what was copied of the one that is lost. Pure.

A halt that was in force goes there at a higher epoch, signed anew: readers that saw the old cluster take a lower one
than they have seen for a replay, and nobody knows which epochs were given after the backup. So it leaps far beyond.
A resume has the one epoch that two operators signed, and comes back as it was: whoever has seen a later halt keeps to
that. A command that the audit answers is in the audit; on its topic it would be another that replays it.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from pipeline.backup.records import Copied
from pipeline.halt.believe import TrustedKeys, believed_halt
from pipeline.halt.chain import AuditRecord, Found, by_fleet, examined
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.verify import UNREADABLE
from pipeline.wire.commands import decode_command
from pipeline.wire.halts import Halt
from pipeline.wire.record_keys import update_key

LEAP = 1_000_000  # epochs; a key has one a decision, and 2^53 of them


class InForce(NamedTuple):
    """By key, the newest record that is believed; and keys of records that are not."""

    halts: dict[str, Halt]
    doubtful: list[str]


def audits(records: Iterable[Copied], trusted: TrustedKeys) -> dict[str, Found]:
    """By fleet, what its chain was found to be."""
    found = by_fleet(AuditRecord(each.key, each.value, each.partition, each.offset) for each in records)
    return {fleet: examined(fleet, of_it, trusted) for fleet, of_it in found.items()}


def in_force(records: Iterable[Copied], chains: Mapping[str, Found], trusted: TrustedKeys) -> InForce:
    """What the topic of halts says, or the audit beyond it: an answer is written there before its halt goes out."""
    newest: dict[str, Halt] = {}
    doubtful: list[str] = []
    entries = (entry for found in chains.values() for entry in found.entries if entry.halt)
    said = [(each.key, each.value or b"") for each in records]
    said += [(None, entry.halt.encode()) for entry in entries]
    for key, raw in said:
        try:
            halt = believed_halt(_key_of(raw) if key is None else key, raw, trusted)
        except UntrustedRecord:
            doubtful += [] if key is None else [key.decode("utf-8", "replace")]
            continue
        if halt.key not in newest or newest[halt.key].rank < halt.rank:
            newest[halt.key] = halt
    return InForce(newest, sorted(set(doubtful) - newest.keys()))


class _Named(msgspec.Struct, frozen=True):
    fleet: str = ""
    vendor: str = ""
    product: str = ""
    version: str = ""


def _key_of(raw: bytes) -> bytes:
    try:
        return update_key(*msgspec.structs.astuple(msgspec.json.decode(raw, type=_Named))).encode()
    except UNREADABLE:
        return b""


def raised(halt: Halt, from_backup_of: str, now_ms: int, lifetime_ms: int) -> Halt:
    """A halt as it goes onto the new cluster, unsigned."""
    return msgspec.structs.replace(
        halt,
        epoch=halt.epoch + LEAP,
        issued_at=max(halt.issued_at, now_ms),
        expires_at=max(halt.expires_at, now_ms + lifetime_ms),
        reason=f"{halt.reason} (in force in the backup of {from_backup_of})"[-1_000:],
        kid="",
        sig="",
    )


def unanswered(commands: Iterable[Copied], chains: Mapping[str, Found]) -> list[Copied]:
    """Commands that no entry of the audit holds."""
    answered = {entry.command for found in chains.values() for entry in found.entries if entry.command}
    ids = {_id_of(text.encode()) for text in answered} - {""}
    return [each for each in commands if _id_of(each.value or b"") not in ids]


def _id_of(raw: bytes) -> str:
    try:
        return decode_command(raw).id
    except UNREADABLE:
        return ""
