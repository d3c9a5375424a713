"""Proposals that wait for another operator, in words. Pure."""

from collections.abc import Iterable, Iterator
from shlex import quote

from pipeline.halt.proposals import Proposed
from pipeline.runtime.logging import printable
from pipeline.status.times import moment, span
from pipeline.wire.record_keys import parse_key


def proposed_words(proposed: Proposed, now_ms: int) -> str:
    """Who proposes what, until when it would hold, and how long it may be approved."""
    rings = "every ring" if "*" in proposed.rings else ", ".join(proposed.rings)
    what = "lift the halt" if proposed.kind == "resume" else "let the resume stand"
    left = span(max(0, proposed.approve_until - now_ms) / 1000)
    return (
        f"{proposed.operator} proposes to {what} in {rings} until {moment(proposed.expires_at)} (id {proposed.id}, "
        f"{span(max(0, now_ms - proposed.at) / 1000)} ago: {proposed.reason}); it holds once another operator approves "
        f"it, within {left}"
    )


def approve_words(proposed: Proposed) -> str:
    """The command of another operator."""
    return f"andon halts approve {proposed.id} --fleet {_fleet(proposed)} --key FILE"


def withdraw_words(proposed: Proposed) -> str:
    """The command that takes it back."""
    return f"andon halts withdraw {proposed.id} --fleet {_fleet(proposed)} --reason '…' --key FILE"


def waiting(proposals: Iterable[Proposed], now_ms: int) -> Iterator[str]:
    """A sentence about each, with the command that completes it; hostile text is escaped."""
    for each in proposals:
        yield printable(f"{each.key}: {proposed_words(each, now_ms)}: {approve_words(each)}")


def _fleet(proposed: Proposed) -> str:
    return quote(parse_key(proposed.key)[0])
