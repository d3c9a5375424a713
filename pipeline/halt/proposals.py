"""What operators have proposed and nobody has approved yet, as a reader of the audit has it. Pure; times in unix ms."""

from collections.abc import Mapping

import msgspec

from pipeline.halt.approval import SignedCommand
from pipeline.halt.believe import TrustedKeys, believed_entry
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.ledger import Ledger
from pipeline.wire.commands import MAX_AGE_MS, Command
from pipeline.wire.halts import Halt

NEWEST_ENTRIES = 1_000  # of the audit: a proposal is open for an hour, and an hour has far fewer
_ANSWER = b'"kind":"answer"'  # in canonical form


class Proposed(msgspec.Struct, kw_only=True, frozen=True):
    """A proposal that another operator may approve until `approve_until`; the resume would stand until `expires_at`."""

    id: str
    kind: str
    key: str
    operator: str
    at: int
    approve_until: int
    expires_at: int
    rings: tuple[str, ...]
    epoch: int
    reason: str


class Proposals:
    """Feed it the audit's records in their order; those that a detector's key did not sign say nothing."""

    def __init__(self, trusted: TrustedKeys) -> None:
        self._trusted = trusted
        self._ledgers: dict[str, Ledger] = {}  # by fleet

    def put(self, key: bytes | None, value: bytes | None) -> None:
        """A record of `fleet.audit`."""
        if value is None or _ANSWER not in value:
            return
        try:
            entry = believed_entry(key, value, self._trusted)
        except UntrustedRecord:
            return
        self._ledgers.setdefault(entry.fleet, Ledger()).taken(entry, self._trusted)

    def open(self, halts: Mapping[str, Halt], now_ms: int) -> list[Proposed]:
        """Those that could still be approved, the oldest first: young enough, and about the newest record of their key.

        Args:
            halts: the newest believed record, by key.
        """
        found = [each for ledger in self._ledgers.values() for each in ledger.proposals(now_ms, self._trusted).values()]
        live = [_proposed(each) for each in found if _is_open(each, halts.get(each.command.key), now_ms)]
        return sorted(live, key=lambda each: (each.at, each.id))


def _is_open(found: SignedCommand, newest: Halt | None, now_ms: int) -> bool:
    command = found.command
    is_newest = command.epoch == (newest.epoch if newest is not None else 0)
    return is_newest and now_ms <= command.at + MAX_AGE_MS and now_ms < command.expires_at


def _proposed(found: SignedCommand) -> Proposed:
    command: Command = found.command
    same = {name: getattr(command, name) for name in ("id", "kind", "key", "operator", "at", "expires_at", "rings")}
    until = command.at + MAX_AGE_MS
    return Proposed(**same, approve_until=until, epoch=command.epoch, reason=command.reason)
