"""What an operator's command comes to: a decision table over what stands, what is proposed and what waits. Pure.

An answer is final. It is written down before its effect, so that it is given once whatever happens in between.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from pipeline.decide.orders import Stance
from pipeline.halt.approval import SignedCommand, named, why_not_approved
from pipeline.halt.issue import EVERY_RING, MAX_REASON_CHARS, enforced, finite, union
from pipeline.runtime.logging import printable
from pipeline.wire.audit import Effect, Outcome
from pipeline.wire.commands import AHEAD_MS, MAX_AGE_MS, Command, command_digest
from pipeline.wire.halts import Halt
from pipeline.wire.spans import HOUR_MS


class Known(NamedTuple):
    """What is known of an update as a command about it is answered. Times in unix ms."""

    newest: Halt | None  # the newest trusted record of its key
    floor: int  # the highest epoch seen on the key
    rings: tuple[str, ...]  # of the newest halt of the key, whatever has lifted it since
    stance: Stance
    proposals: Mapping[str, SignedCommand]  # the fleet's, open; by id
    lifetime_ms: int  # of a halt
    now_ms: int

    @property
    def epoch(self) -> int:
        """Of the newest record, 0 for none."""
        return self.newest.epoch if self.newest is not None else 0

    @property
    def resume(self) -> Halt | None:
        """The resume that stands."""
        newest = self.newest
        stands = newest is not None and newest.action == "resume" and self.now_ms < newest.expires_at
        return newest if stands else None


class Answer(NamedTuple):
    """`why` is a word, `detail` for people. `halt` is the unsigned record that follows."""

    outcome: Outcome
    why: str = ""
    detail: str = ""
    effect: Effect = ""
    rings: tuple[str, ...] = ()
    halt: Halt | None = None


def refused(why: str, detail: str) -> Answer:
    """It changes nothing."""
    return Answer("refused", why, detail)


def answer(signed: SignedCommand, appended_at_ms: int, known: Known) -> Answer:
    """What follows from a command that was written down at `appended_at_ms`, by the brokers' clock."""
    command = signed.command
    if known.now_ms - command.at > MAX_AGE_MS or appended_at_ms - command.at > MAX_AGE_MS:
        return refused("too_old", "it is older than an hour: sign a new one")
    if command.at - min(appended_at_ms, known.now_ms) > AHEAD_MS:
        return refused("ahead", "it is dated in the future: look at the clock of the machine that signed it")
    if command.kind == "approve":
        return _approve(signed, known) if command.approves else _release(command, known)
    if not command.reason.strip():
        return refused("no_reason", "it gives no reason")
    if command.kind == "force":
        return _force(command, known)
    if command.kind == "withdraw":
        return _withdraw(command, known)
    if found := _why_not_proposed(command, known):
        return found
    return Answer("applied", detail=f"proposed: another operator has an hour to approve {command.id}")


def _force(command: Command, known: Known) -> Answer:
    newest = known.newest
    stands = newest is not None and newest.action == "halt"
    if newest is not None and stands and (EVERY_RING in newest.rings or set(command.rings) <= set(newest.rings)):
        return refused("already_halted", f"it is halted in these rings, by {newest.decided_by}, epoch {newest.epoch}")
    rings = union(command.rings, known.rings if newest is not None else ())
    halt = _record(command, known, "halt", rings, named(command), known.now_ms + known.lifetime_ms)
    return Answer("applied", detail=f"halted, epoch {halt.epoch}", effect="forced", rings=rings, halt=halt)


def _release(command: Command, known: Known) -> Answer:
    waiting = known.stance.waiting
    if waiting is None:
        return refused("nothing_waits", "no halt of this update waits for a person, and no proposal is named")
    if command.epoch != known.epoch:
        return _superseded(command, known)
    halt = enforced(waiting, known.newest, known.floor, known.now_ms, known.lifetime_ms, named(command))
    return Answer("applied", detail=f"halted, epoch {halt.epoch}", effect="released", rings=halt.rings, halt=halt)


def _why_not_proposed(command: Command, known: Known) -> Answer | None:
    """Why a proposal cannot be, as things are now; None when it can."""
    if command.epoch != known.epoch or known.floor > known.epoch:
        return _superseded(command, known)
    longest_ms = known.stance.max_resume_ms
    if not known.now_ms < command.expires_at <= known.now_ms + longest_ms:
        return refused(
            "expiry", f"its expiry is not within the next {longest_ms / HOUR_MS:g} hours, as the policy asks"
        )
    resume = known.resume
    if command.kind == "resume":
        if resume is not None:
            return refused("already_resumed", f"a resume stands, epoch {resume.epoch}: extend it instead")
        is_halted = known.newest is not None and known.newest.action == "halt"
        return None if is_halted or known.stance.waiting else refused("not_halted", "nothing of it stands halted")
    if resume is None:
        return refused("not_resumed", "no resume of it stands that could be extended")
    if command.rings != resume.rings:
        return refused("other_rings", f"the resume that stands names {', '.join(resume.rings)}")
    if command.expires_at <= resume.expires_at:
        return refused("expiry", "the resume that stands ends later than that")
    return None


def _approve(signed: SignedCommand, known: Known) -> Answer:
    proposal = known.proposals.get(signed.command.approves)
    if proposal is None:
        return refused("unknown_proposal", "no such proposal is open: it was never there, was completed, or is too old")
    if why := why_not_approved(proposal, signed):
        return refused("not_approved", why)
    proposed = proposal.command
    if known.now_ms - proposed.at > MAX_AGE_MS:
        return refused("too_old", "the proposal is older than an hour: propose it anew")
    if found := _why_not_proposed(proposed, known):
        return found
    by = named(proposed, signed.command)
    halt = _record(proposed, known, "resume", proposed.rings, by, proposed.expires_at)
    orders = (proposal.raw.decode(), signed.raw.decode())
    return Answer(
        "applied",
        detail=f"resumed, epoch {halt.epoch}" if proposed.kind == "resume" else f"extended, epoch {halt.epoch}",
        effect="resumed" if proposed.kind == "resume" else "",
        rings=proposed.rings,
        halt=msgspec.structs.replace(halt, orders=orders),
    )


def _withdraw(command: Command, known: Known) -> Answer:
    """Whoever of the operators asks for it: what stands halted stays so."""
    proposal = known.proposals.get(command.approves)
    named_so = (command.key, command.digest)
    if proposal is None or named_so != (proposal.command.key, command_digest(proposal.raw)):
        return refused("unknown_proposal", "no such proposal is open: it was never there, was completed, or is too old")
    return Answer("applied", detail=f"withdrawn: {proposal.command.id} of {proposal.command.operator}")


def _superseded(command: Command, known: Known) -> Answer:
    newest = max(known.epoch, known.floor)
    return refused("superseded", f"it is about epoch {command.epoch}, and the newest is {newest}: look, and sign anew")


def _record(
    command: Command,
    known: Known,
    action: Literal["halt", "resume"],
    rings: tuple[str, ...],
    decided_by: str,
    expires_at: int,
) -> Halt:
    """What follows from a command, with the evidence that there was; unsigned."""
    newest, waiting = known.newest, known.stance.waiting
    evidence = newest.evidence if newest is not None else None
    return Halt(
        action=action,
        fleet=command.fleet,
        vendor=command.vendor,
        product=command.product,
        version=command.version,
        rings=rings,
        epoch=max(known.floor, known.epoch) + 1,
        issued_at=known.now_ms,
        expires_at=expires_at,
        decided_by=decided_by,
        policy=known.stance.policy,
        reason=printable(command.reason)[:MAX_REASON_CHARS],
        evidence=finite(waiting.evidence) if evidence is None and waiting is not None else evidence,
        kid="",
    )
