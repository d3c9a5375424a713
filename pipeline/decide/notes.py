"""What became no evidence, counted by word, with the first example of each; and whose clocks are ahead."""

from typing import Annotated, Any

from pipeline.decide.alarm.watch import Alarm as Alarm  # for who keeps both
from pipeline.decide.arrays import Part, Plain
from pipeline.decide.blind.signs import Signs as Signs  # for who keeps both
from pipeline.decide.buckets import DAY_BUCKETS
from pipeline.wire.noted import Noted
from pipeline.wire.partials import Partial

MAX_CLOCKS = 1_000  # hosts remembered whose clocks are ahead, for a day
SHOWN_CLOCKS = 10

_WORDS = frozenset(word.value for word in Noted)


class Notes(Part):
    """Counts by word.

    >>> notes = Notes()
    >>> notes.note(Noted.CRASHES_LATE, 2, "h1", 1_000)
    >>> notes.summary()["noted"], notes.summary()["noted_first"]
    ({'crashes_late': 2}, {'crashes_late': {'host': 'h1', 'at': 1000}})
    """

    noted: Annotated[dict[str, int], Plain("noted", dict, "times, by word (pipeline.wire.noted)")]
    first: Annotated[dict[str, list[Any]], Plain("noted_first", dict, "host and moment (unix ms) of the first example")]
    # host → how far its clock was ahead (ms), and the bucket of that
    clocks: Annotated[dict[str, list[int]], Plain("clocks", dict, "ms, bucket")]

    def note(self, what: Noted, times: int, host: str = "", at_ms: int = 0) -> None:
        """So often more; `host` and `at_ms` (unix ms) are its example, if it is the first that has one."""
        if not times:
            return
        self.noted[what.value] = self.noted.get(what.value, 0) + times
        if host:
            self.first.setdefault(what.value, [host, at_ms])

    def take_in(self, partial: Partial, bucket: int) -> None:
        """What the combiner noted. Words that this version does not know are left out."""
        self.note(Noted.CRASHES_UNDATED, partial.undated)
        for word, times in partial.notes.counts.items():
            if word in _WORDS:
                self.note(Noted(word), times)
        for host, ahead_ms in partial.notes.clocks_ahead.items():
            if host in self.clocks or len(self.clocks) < MAX_CLOCKS:
                self.clocks[host] = [ahead_ms, bucket]

    def forget_clocks(self, bucket: int) -> None:
        """Those that have not been ahead for a day are right again, or gone."""
        last = bucket - DAY_BUCKETS
        self.clocks = {host: [ahead, seen] for host, (ahead, seen) in self.clocks.items() if seen > last}

    def summary(self) -> dict[str, Any]:
        """For people, fit for JSON."""
        clocks = sorted(self.clocks.items(), key=lambda item: (-item[1][0], item[0]))
        furthest = [{"host": host, "ahead_seconds": ahead // 1000} for host, (ahead, _) in clocks[:SHOWN_CLOCKS]]
        return {
            "noted": dict(sorted(self.noted.items())),
            "noted_first": {word: {"host": host, "at": at} for word, (host, at) in sorted(self.first.items())},
            "clocks_ahead": {"hosts": len(clocks), "furthest": furthest},
        }
