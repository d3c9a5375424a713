"""Who may lift a halt: two operators, by the same words; and what is refused."""

from typing import Any

import msgspec
import pytest
from support.rollout_world import (
    ANN,
    ASKED,
    BOB,
    CAROL,
    DETECTOR,
    NAMES,
    NOW,
    OPERATORS,
    STRANGER,
    TRUSTED,
    Operator,
    gate_of,
    halt,
    ordered,
)

from pipeline.decide.orders import Stance
from pipeline.halt.approval import believed_command
from pipeline.halt.believe import believed_halt
from pipeline.halt.commanded import Answer, Known, answer
from pipeline.halt.errors import Unapproved, UntrustedRecord, WrongKey, WrongRole
from pipeline.wire.commands import command_digest, decode_command
from pipeline.wire.halts import Halt, decode_halt, encode_halt
from pipeline.wire.spans import DAY_MS, HOUR_MS, MINUTE_MS

KEY = "/".join(ASKED[:4]).encode()


def plain(**other: Any) -> Halt:
    """The resume of the update, without orders."""
    fields = decode_halt(halt(2, "resume")[2] or b"")
    return msgspec.structs.replace(fields, **{"orders": ()} | other)


def signed(resume: Halt) -> bytes:
    return encode_halt(DETECTOR.sign(resume))


def with_orders(first: bytes, second: bytes) -> Halt:
    return plain(orders=(first.decode(), second.decode()))


def proposal(by: Operator = ANN, at: int = NOW, **other: Any) -> bytes:
    """That fits the plain resume."""
    return by.says("resume", at, **NAMES | {"rings": ("*",), "epoch": 1, "expires_at": plain().expires_at} | other)


def test_a_resume_by_two_is_believed() -> None:
    """Its proposal and approval stand in it, byte for byte."""
    raw = proposal()
    assert believed_halt(KEY, signed(with_orders(raw, BOB.approves(raw, NOW))), TRUSTED).action == "resume"


WRONG: dict[str, Halt] = {
    "none": plain(),
    "one": plain(orders=(proposal().decode(),)),
    "same operator": ordered(plain(), ANN, ANN),
    "a key that is not trusted": ordered(plain(), ANN, Operator("bob")),
    "a stranger": ordered(plain(), ANN, Operator("mallory")),
    "other rings": msgspec.structs.replace(ordered(plain()), rings=("broad",)),
    "longer": msgspec.structs.replace(ordered(plain()), expires_at=plain().expires_at + 1),
    "later epoch": msgspec.structs.replace(ordered(plain()), epoch=3),
    "other version": msgspec.structs.replace(ordered(plain()), version="292"),
    "altered": with_orders(proposal(), BOB.approves(proposal(reason="other words"), NOW)),
    "not approved": with_orders(proposal(), proposal(BOB)),
    "too late": with_orders(proposal(at=NOW - 61 * MINUTE_MS), BOB.approves(proposal(at=NOW - 61 * MINUTE_MS), NOW)),
    "junk": plain(orders=("{}", "[]")),
}


@pytest.mark.parametrize("name", WRONG)
def test_no_other_resume_is_believed(name: str) -> None:
    """However a detector's key signed it: two operators, for this update, rings, epoch, expiry; or it is halted."""
    raw = signed(WRONG[name])
    with pytest.raises(Unapproved) as caught:
        believed_halt(decode_halt(raw).key.encode(), raw, TRUSTED)
    assert str(caught.value)
    if name != "other version":
        gate = gate_of(halt(), ("fleet.halts", KEY, raw))
        assert gate.decide(ASKED, NOW).state == "HALTED"


def test_a_flipped_byte_in_an_order_is_seen() -> None:
    """Any of them, though the detector's key signed the whole anew."""
    resume = ordered(plain())
    for at in range(0, len(resume.orders[1]), 7):
        order = resume.orders[1]
        flipped = order[:at] + chr(ord(order[at]) ^ 1) + order[at + 1 :]
        with pytest.raises(UntrustedRecord):
            believed_halt(KEY, signed(msgspec.structs.replace(resume, orders=(resume.orders[0], flipped))), TRUSTED)


def test_a_halt_without_orders_is_what_it_was() -> None:
    """Records of before the field have the same bytes and the same signature."""
    raw = halt()[2] or b""
    assert b"orders" not in raw
    assert encode_halt(believed_halt(KEY, raw, TRUSTED)) == raw


def test_only_operators_command() -> None:
    """A detector's or a stranger's key, another's name, another fleet's key: none of them is a command."""
    raw = ANN.says("force", NOW)
    assert believed_command(b"acme/v/p/1", raw, OPERATORS).owner.name == "ann"
    with pytest.raises(WrongKey):
        believed_command(b"zeta/v/p/1", raw, OPERATORS)
    with pytest.raises(WrongRole):
        believed_command(b"acme/v/p/1", ANN.says("force", NOW, operator="bob"), OPERATORS)
    for key in (DETECTOR, STRANGER):
        mallory = Operator("ann")
        mallory.key = key
        with pytest.raises(UntrustedRecord):
            believed_command(b"acme/v/p/1", mallory.says("force", NOW), TRUSTED)


def known(**other: Any) -> Known:
    """The update stands halted in every ring, epoch 1."""
    newest = decode_halt(halt()[2] or b"")
    given = {"newest": newest, "floor": 1, "rings": ("*",), "stance": Stance("digest", 7 * DAY_MS, None)}
    return Known(**{**given, "proposals": {}, "lifetime_ms": DAY_MS, "now_ms": NOW} | other)


def judged(raw: bytes, **other: Any) -> Answer:
    return answer(believed_command(KEY, raw, OPERATORS), NOW, known(**other))


def approved(first: bytes, second: bytes, **other: Any) -> Answer:
    """What the approval of an open proposal comes to."""
    found = believed_command(KEY, first, OPERATORS)
    return judged(second, **{"proposals": {found.command.id: found}} | other)


def test_who_lifts_a_halt() -> None:
    """A proposal changes nothing; another operator's approval does, with both names, and can be believed."""
    raw = proposal()
    assert judged(raw)[:2] == ("applied", "")
    assert judged(raw).halt is None
    found = approved(raw, BOB.approves(raw, NOW))
    assert found.halt is not None
    assert found.halt.decided_by == "operator:ann, operator:bob"
    assert believed_halt(KEY, signed(found.halt), TRUSTED).epoch == 2


def test_a_proposal_is_withdrawn() -> None:
    """By any operator who names its bytes; another text's, or one that is not open, is refused. Nothing is lifted."""
    raw = proposal()
    for by in (ANN, BOB):
        same = {**NAMES, "epoch": 1, "approves": decode_command(raw).id}
        found = approved(raw, by.says("withdraw", NOW, **same, digest=command_digest(raw)))
        assert (found.outcome, found.effect, found.halt) == ("applied", "", None)
        other = approved(raw, by.says("withdraw", NOW, **same, digest=command_digest(b"x")))
        gone = judged(by.says("withdraw", NOW, **same, digest=command_digest(raw)))
        assert (other.why, gone.why) == ("unknown_proposal", "unknown_proposal")


@pytest.mark.parametrize(
    ("raw", "other", "why"),
    [
        (proposal(reason="  "), {}, "no_reason"),
        (proposal(expires_at=NOW), {}, "expiry"),
        (proposal(expires_at=NOW + 8 * DAY_MS), {}, "expiry"),
        (proposal(epoch=0), {}, "superseded"),
        (proposal(), {"floor": 5}, "superseded"),
        (proposal(epoch=0), {"newest": None, "floor": 0}, "not_halted"),
        (proposal(at=NOW - 61 * MINUTE_MS), {}, "too_old"),
        (ANN.says("extend", NOW, **NAMES, expires_at=NOW + HOUR_MS), {}, "not_resumed"),
        (ANN.says("force", NOW, **NAMES), {}, "already_halted"),
        (ANN.says("approve", NOW, **NAMES), {}, "nothing_waits"),
        (BOB.approves(proposal(), NOW), {}, "unknown_proposal"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # signatures differ from one process to the next
)
def test_what_is_refused(raw: bytes, other: dict[str, Any], why: str) -> None:
    """With a word and a sentence; nothing follows."""
    found = judged(raw, **other)
    assert (found.outcome, found.why, found.halt, found.effect) == ("refused", why, None, "")
    assert found.detail


OLD = proposal(at=NOW - 61 * MINUTE_MS)


@pytest.mark.parametrize(
    ("raw", "by", "other", "why"),
    [
        (proposal(), lambda raw: ANN.approves(raw, NOW), {}, "not_approved"),
        (proposal(), lambda raw: BOB.approves(raw, NOW, digest=command_digest(b"x")), {}, "not_approved"),
        (proposal(), lambda raw: BOB.approves(raw, NOW, rings=("broad",)), {}, "not_approved"),
        (OLD, lambda raw: BOB.approves(raw, NOW - MINUTE_MS * 30), {}, "too_old"),
        (OLD, lambda raw: BOB.approves(raw, NOW), {}, "not_approved"),
        (proposal(), lambda raw: BOB.approves(raw, NOW), {"floor": 2}, "superseded"),
    ],
    ids=["own", "altered", "other rings", "old proposal", "over an hour apart", "superseded"],
)
def test_what_no_approval_completes(raw: bytes, by: Any, other: dict[str, Any], why: str) -> None:
    """The same operator, an altered text, an old one, one that was overtaken."""
    found = approved(raw, by(raw), **other)
    assert (found.outcome, found.why, found.halt) == ("refused", why, None)


def test_force_overrules_a_resume() -> None:
    """By one signature; in every ring that the halt had."""
    resume = decode_halt(halt(2, "resume", rings=("broad",))[2] or b"")
    found = judged(CAROL.says("force", NOW, **NAMES, rings=("broad",)), newest=resume, floor=2, rings=("*",))
    assert found.halt is not None
    assert (found.halt.action, found.halt.epoch, found.halt.rings) == ("halt", 3, ("*",))
    assert found.halt.decided_by == "operator:carol"
