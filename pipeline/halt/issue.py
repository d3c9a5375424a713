"""From an order to a halt: which epoch, until when, and whether it has been said already. Pure; signing comes after."""

import math
from typing import Any

import msgspec

from pipeline.decide.orders import HaltOrder
from pipeline.runtime.logging import printable
from pipeline.wire.halts import Evidence, Halt

EVERY_RING = "*"
DECIDED_BY = "andon"
MAX_REASON_CHARS = 1_000
AFTER_RESUME = "after_resume"  # a flag of evidence that has grown past the bar since a resume
HUGE = 1e300  # JSON has no infinity


def issue(order: HaltOrder, newest: Halt | None, epoch_floor: int, now_ms: int, lifetime_ms: int) -> Halt | None:
    """The unsigned halt that this order asks for, or None when the newest record of its key already says it.

    Args:
        order: one in mode `enforce`.
        newest: the newest trusted record of the key, from own state or the topic.
        epoch_floor: the highest epoch ever seen on the key, trusted or not, 0 for none; the halt's lies above.
        now_ms: wall clock, unix milliseconds.
        lifetime_ms: how long the halt stands without renewal.
    """
    if newest is not None and (_covered(order, newest) or _answered(order, newest, now_ms)):
        return None
    return enforced(order, newest, epoch_floor, now_ms, lifetime_ms, DECIDED_BY)


def enforced(
    order: HaltOrder, newest: Halt | None, epoch_floor: int, now_ms: int, lifetime_ms: int, decided_by: str
) -> Halt:
    """The unsigned halt of an order, beyond what stands; arguments as `issue` has them."""
    return Halt(
        action="halt",
        fleet=order.fleet,
        vendor=order.vendor,
        product=order.product,
        version=order.version,
        rings=union(order.rings, newest.rings if newest is not None and newest.action == "halt" else ()),
        epoch=max(epoch_floor, newest.epoch if newest is not None else 0) + 1,
        issued_at=now_ms,
        expires_at=now_ms + lifetime_ms,
        decided_by=decided_by,
        policy=order.policy,
        reason=printable(order.reason)[:MAX_REASON_CHARS],
        evidence=finite(order.evidence),
        kid="",
    )


def stands_again(
    resume: Halt, rings: tuple[str, ...], why: str, epoch_floor: int, now_ms: int, lifetime_ms: int
) -> Halt:
    """The halt that a resume had lifted, in the rings that it had (as the resume's when they are not known), once that
    is over; unsigned."""
    return msgspec.structs.replace(
        resume,
        action="halt",
        rings=rings or resume.rings,
        epoch=max(epoch_floor, resume.epoch) + 1,
        issued_at=now_ms,
        expires_at=now_ms + lifetime_ms,
        decided_by=DECIDED_BY,
        reason=printable(why)[:MAX_REASON_CHARS],
        orders=(),
        kid="",
        sig="",
    )


def renewal_due(halt: Halt, now_ms: int, lifetime_ms: int) -> bool:
    """At half of its life, so that a correlator down for the other half loses nothing; whoever has decided it."""
    return halt.action == "halt" and now_ms >= halt.expires_at - lifetime_ms // 2


def renew(halt: Halt, now_ms: int, lifetime_ms: int) -> Halt:
    """The same halt, same epoch, for another lifetime; unsigned. Times never go back, whatever the clock does."""
    return msgspec.structs.replace(
        halt,
        issued_at=max(halt.issued_at, now_ms),
        expires_at=max(halt.expires_at, now_ms + lifetime_ms),
        kid="",
        sig="",
    )


def restore(halt: Halt, epoch_floor: int, now_ms: int, lifetime_ms: int) -> Halt:
    """A halt that the topic has lost, to be put back above whatever stands there; unsigned."""
    back = renew(halt, now_ms, lifetime_ms)
    return msgspec.structs.replace(back, epoch=max(epoch_floor, halt.epoch) + 1)


def union(rings: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """The rings of both; "*" is every one."""
    together = set(rings) | set(others)
    return (EVERY_RING,) if EVERY_RING in together else tuple(sorted(together))


def finite(evidence: Evidence) -> Evidence:
    """Evidence that JSON can carry: infinite bounds become ±1e300, undefined ones 0."""
    return msgspec.convert(_finite(msgspec.to_builtins(evidence)), Evidence)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return 0.0 if math.isnan(value) else math.copysign(HUGE, value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _covered(order: HaltOrder, newest: Halt) -> bool:
    """A halt that names these rings stands until a resume, even past its expiry: it is renewed, not issued again."""
    return newest.action == "halt" and (EVERY_RING in newest.rings or set(order.rings) <= set(newest.rings))


def _answered(order: HaltOrder, newest: Halt, now_ms: int) -> bool:
    """Operators resumed after the order's evidence was in: replaying it must not overrule them. Later evidence may: the
    detector says itself when it is, unless it has lost what it knew of the resume."""
    if newest.action != "resume" or now_ms >= newest.expires_at or AFTER_RESUME in order.evidence.flags:
        return False
    return order.evidence.stream_time <= newest.issued_at
