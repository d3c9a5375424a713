"""What it takes to lift a halt: two operators' signatures on the same words, carried by the resume itself. Pure.

A resume is signed by a detector's key as a halt is; but what lifts a halt must not hang on that key alone. So it holds
the proposal and its approval, byte for byte as two operators signed them, and whoever believes a resume has checked
that both are for this very update, these rings, this epoch and this expiry.
"""

from typing import NamedTuple

from pipeline.halt.errors import MalformedRecord, Unapproved, UntrustedRecord, WrongKey, WrongRole
from pipeline.halt.verify import UNREADABLE, TrustedKey, TrustedKeys, verify_bytes
from pipeline.wire.commands import MAX_AGE_MS, PROPOSALS, Command, command_digest, decode_command
from pipeline.wire.halts import Halt


class SignedCommand(NamedTuple):
    """A command, the bytes that were signed, and the operator's key that signed them."""

    command: Command
    raw: bytes
    owner: TrustedKey


def believed_command(key: bytes | None, raw: bytes, trusted: TrustedKeys) -> SignedCommand:
    """What a record of `fleet.commands` says, when the key of that very operator signed these bytes for this key.

    Raises:
        UntrustedRecord: with the reason.
    """
    found = _signed(raw, trusted)
    if key != found.command.key.encode():
        raise WrongKey(f"a command about {found.command.key!r} stands under another key")
    return found


def check_orders(halt: Halt, trusted: TrustedKeys) -> None:
    """Return for every halt, and for a resume that carries the orders of two operators.

    Raises:
        Unapproved: naming what is missing.
    """
    if halt.action != "resume":
        return
    if len(halt.orders) != 2:
        raise Unapproved(f"a resume carries the orders of two operators, this one {len(halt.orders)}")
    try:
        proposal, approval = (_signed(order.encode(), trusted) for order in halt.orders)
    except (UntrustedRecord, UnicodeError) as error:
        raise Unapproved(f"an order in a resume: {error}") from None
    if why := why_not_approved(proposal, approval) or _differs(halt, proposal.command):
        raise Unapproved(why)


def why_not_approved(proposal: SignedCommand, approval: SignedCommand) -> str:
    """Why an approval does not complete a proposal, "" when it does."""
    proposed, approved = proposal.command, approval.command
    if proposed.kind not in PROPOSALS or approved.kind != "approve" or approved.approves != proposed.id:
        return "the second order does not approve the first"
    if approved.digest != command_digest(proposal.raw):
        return "what was approved is not what was proposed"
    if approved.key != proposed.key or (approved.rings, approved.epoch) != (proposed.rings, proposed.epoch):
        return "the approval is of another update, of other rings or of another epoch"
    if proposal.owner.name == approval.owner.name or proposed.kid == approved.kid:
        return f"{proposed.operator} cannot approve an own proposal: another operator can"
    if abs(approved.at - proposed.at) > MAX_AGE_MS:
        return "the proposal is older than an hour"
    return ""


def _differs(halt: Halt, proposed: Command) -> str:
    if halt.key != proposed.key:
        return "its orders are about another update"
    if halt.rings != proposed.rings:
        return "its orders name other rings"
    if halt.epoch != proposed.epoch + 1:
        return f"its orders lift the record of epoch {proposed.epoch}, and this one has the epoch {halt.epoch}"
    if halt.expires_at != proposed.expires_at:
        return "its orders end at another time"
    return ""


def _signed(raw: bytes, trusted: TrustedKeys) -> SignedCommand:
    try:
        command = decode_command(raw)
    except UNREADABLE as error:
        raise MalformedRecord(str(error)) from None
    owner = verify_bytes(raw, trusted, "operator")
    if owner.name != command.operator:
        raise WrongRole(f"the key of {owner.name!r} signed for {command.operator!r}")
    return SignedCommand(command, raw, owner)


def named(*commands: Command) -> str:
    """Who decided, as a record of `fleet.halts` says it."""
    return ", ".join(f"operator:{command.operator}" for command in commands)
