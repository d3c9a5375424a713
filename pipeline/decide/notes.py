"""What became no evidence, counted by word, with the first example of each; and whose clocks are ahead."""

from typing import Any

from pipeline.decide.buckets import DAY_BUCKETS
from pipeline.decide.state import DetectorState
from pipeline.wire.noted import Noted
from pipeline.wire.partials import Partial

MAX_CLOCKS = 1_000  # hosts remembered whose clocks are ahead, for a day
SHOWN_CLOCKS = 10

_WORDS = frozenset(word.value for word in Noted)


def note(state: DetectorState, what: Noted, times: int, host: str = "", at_ms: int = 0) -> None:
    """So often more; `host` and `at_ms` (unix ms) are its example, if it is the first that has one."""
    if not times:
        return
    state.noted[what.value] = state.noted.get(what.value, 0) + times
    if host:
        state.noted_first.setdefault(what.value, [host, at_ms])


def take_notes(state: DetectorState, partial: Partial) -> None:
    """What the combiner noted. Words that this version does not know are left out."""
    note(state, Noted.CRASHES_UNDATED, partial.undated)
    for word, times in partial.notes.counts.items():
        if word in _WORDS:
            note(state, Noted(word), times)
    for host, ahead_ms in partial.notes.clocks_ahead.items():
        if host in state.clocks or len(state.clocks) < MAX_CLOCKS:
            state.clocks[host] = [ahead_ms, state.bucket]


def forget_clocks(state: DetectorState) -> None:
    """Those that have not been ahead for a day are right again, or gone."""
    last = state.bucket - DAY_BUCKETS
    state.clocks = {host: [ahead, seen] for host, (ahead, seen) in state.clocks.items() if seen > last}


def summary(state: DetectorState) -> dict[str, Any]:
    """For people, fit for JSON."""
    clocks = sorted(state.clocks.items(), key=lambda item: (-item[1][0], item[0]))
    return {
        "noted": dict(sorted(state.noted.items())),
        "noted_first": {word: {"host": host, "at": at} for word, (host, at) in sorted(state.noted_first.items())},
        "clocks_ahead": {
            "hosts": len(clocks),
            "furthest": [{"host": host, "ahead_seconds": ahead // 1000} for host, (ahead, _) in clocks[:SHOWN_CLOCKS]],
        },
    }
