"""The unattributed alarm of one fleet: it crashes far more than it ever did, and no update can be named for it.

It begins when the evidence of a rise (rise.py) reaches its threshold and no halt has explained it within GRACE minutes;
it ends when the hosts that crash are as few as usual again, when a halt explains them, or after a day: by then it is
what is usual. It names nobody, so it stops nothing.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.decide.alarm.minutes import SETTLED, UNKNOWN_TRIALS, WINDOW, Minutes, Span, Usual
from pipeline.decide.alarm.rise import log_rise
from pipeline.wire.partials import BUCKET_MS, CrashRecord, Partial
from pipeline.wire.spans import DAY_MS, MINUTE_MS

# Crashed hosts, times as many as in the worst usual hour, that are no alarm. An ordinary fleet's days differ by less
# than 3 once a whole day was seen; until then the day may rise by 5, as the steepest ordinary cycle does.
RISE, RISE_UNTIL_A_DAY = 3.0, 5.0
MINIMUM_HOSTS = 5.0
GRACE = 5  # minutes in which a halt may come and explain it
QUIET = 15  # minutes that have to be as usual
QUIET_HOSTS = 2  # that may crash in these whatever is usual: one that flaps keeps no alarm up
QUIET_TRIALS = 0.1  # of the usual trials that there must be: a fleet that tells nothing is not well
LONGEST = DAY_MS // MINUTE_MS
SUSPICIOUS = float(np.log(1e4))  # evidence from which a minute does not become usual for now
MAX_HOSTS = 5_000  # remembered while it sounds
REPEATED = 5  # minutes after which a sounding alarm is told again, with the figures of now
BUCKETS = MINUTE_MS // BUCKET_MS

Ended = Literal["", "usual", "named", "lasting"]
Change = Literal["", "began", "goes_on", "ended"]


class Standing(NamedTuple):
    """What a sounding alarm, or one that has just ended, says in figures. Times in unix minutes; 0 is not yet."""

    since: int
    over: int
    ended: Ended
    crashed: float
    usual: float
    rise_tolerated: float
    log_evidence: float  # ln, the most that there was
    has_history: bool


class Alarm:
    """One fleet's. Not safe for concurrent use.

    >>> alarm = Alarm()
    >>> [alarm.pass_minute(minute, 14.0) for minute in range(1_000, 1_003)]
    ['', '', '']
    """

    def __init__(self) -> None:
        self.minutes = Minutes()
        self.crossed = 0  # when its evidence reached the threshold; 0: it has not
        self.sounds_since = 0  # when it was told; 0: it does not sound
        self.since = 0  # when the rise began
        self.anew = 0  # what was before is told
        self.over = 0
        self.ended: Ended = ""
        self.apart: list[list[int]] = []  # first and last minute of the newest one that is over
        self.times = 0  # it has sounded
        self.crashed = self.expected = 0.0  # of minutes that have left the window
        self.log_evidence = 0.0
        self.most = 0.0  # the evidence of the newest one that is over
        self.frozen: list[float | bool] = []  # what was usual when it crossed
        self.hosts: dict[int, int] = {}  # that crash while it sounds, and when they did last
        self.spared: dict[int, int] = {}  # hosts told by undated reports that list a halted update
        self.halted: list[int] = []  # positions of updates whose crashes are explained
        self._is_stale = False  # crashes have come since it was looked at

    def pack(self) -> dict[str, Any]:
        """What a snapshot holds of it."""
        return {name: value for name, value in vars(self).items() if name != "minutes"} | {
            "minutes": self.minutes.pack()
        }

    def restore(self, stored: dict[str, Any]) -> None:
        """The inverse."""
        for name in vars(self).keys() & stored.keys() - {"minutes"}:
            setattr(self, name, stored[name])
        self.minutes.restore(stored.get("minutes", {}))

    @property
    def sounds(self) -> bool:
        """Whether it does."""
        return bool(self.sounds_since)

    # -- what comes

    def enter_trials(self, buckets: NDArray[np.int64], trials: NDArray[np.int64]) -> None:
        """Clean trials, by rows."""
        self.minutes.add_trials(buckets // BUCKETS, trials.astype(np.float64))

    def enter_crashes(self, minute: int, by_stratum: Mapping[int, int]) -> None:
        """Crashed hosts of a closed bucket: each once a day, without those that a halted update explains."""
        if hosts := sum(by_stratum.values()):
            self.minutes.crash(minute, float(hosts))
            self._is_stale = True

    def hear(self, partial: Partial, positions: NDArray[np.int64], halted: Collection[int]) -> None:
        """Reports of crashes as they are, repeated ones too; `positions` are the partial's updates'. While it sounds
        they tell whether it goes on; and undated ones of hosts that list a halted update are explained."""
        if not partial.crashes or not (self.sounds or halted):
            return
        known = {place for place, position in enumerate(positions.tolist()) if position in halted}
        for record in partial.crashes:
            if known.isdisjoint(record.exposed) and not (record.undated and not known.isdisjoint(record.excluded)):
                self._hear(record)
            elif record.undated:
                self._spare(record)

    def _hear(self, record: CrashRecord) -> None:
        if not self.sounds:
            return
        key = _key(record.host)
        if key in self.hosts or len(self.hosts) < MAX_HOSTS:
            self.hosts[key] = self.minutes.now

    def _spare(self, record: CrashRecord) -> None:
        key = _key(record.host)
        if key not in self.spared and len(self.spared) < MAX_HOSTS:
            self.minutes.explain(record.at // MINUTE_MS, 1.0)
        self.spared[key] = self.minutes.now

    def explain(self, halted: Collection[int], crashes: Iterable[tuple[int, Collection[int]]]) -> None:
        """These updates stand halted by now. Of each minute as large a share of the crashed hosts is explained as of
        the `crashes` that are remembered: moments (unix ms), and what they list."""
        before, new = frozenset(self.halted), frozenset(halted) - frozenset(self.halted)
        self.halted = sorted(halted)
        if not new:
            return
        counted: dict[int, list[int]] = {}
        for at, listed in crashes:
            if before.isdisjoint(listed):
                found = counted.setdefault(at // MINUTE_MS, [0, 0])
                found[0] += 1
                found[1] += not new.isdisjoint(listed)
        for minute, (every, explained) in counted.items():
            left = float(self.minutes.crashed_in(minute, minute)[0])
            self.minutes.explain(minute, left * explained / every)
        self.hosts.clear()
        self._is_stale = True

    # -- what it comes to

    def pass_minute(self, now: int, threshold: float) -> Change:
        """Stream time is this minute; `threshold` in ln. What has changed."""
        self.minutes.advance(now, self._not_usual())
        self.spared = {key: at for key, at in self.spared.items() if now - at < LONGEST}
        if self.sounds:
            return self._go_on(now, threshold)
        if self._is_stale or self.log_evidence >= SUSPICIOUS:
            self._look(now, threshold)
        if not self.crossed or now - self.crossed < GRACE:
            return ""
        self.sounds_since, self.over, self.ended = now, 0, ""
        self.times += 1
        return "began"

    def _not_usual(self) -> list[Span]:
        now = [(self.since, self.minutes.now + LONGEST)] if self.crossed or self.log_evidence >= SUSPICIOUS else []
        return now + [(first, last) for first, last in self.apart]

    def _usual(self) -> Usual:
        return Usual(*self.frozen) if self.frozen else self.minutes.usual()  # type: ignore[arg-type]

    def _look(self, now: int, threshold: float) -> None:
        """Whether the evidence has reached the threshold. Once it has, only halts that explain it take that back."""
        self._is_stale = False
        if not self.crossed:
            self.frozen = []
        usual, first, last = self._usual(), max(now - WINDOW + 1, self.anew + 1), now - 2
        if last < first:
            return
        crashed, trials = self.minutes.crashed_in(first, last), self.minutes.trials_in(first, last)
        told = usual.is_known or trials.sum() >= UNKNOWN_TRIALS
        log, start = log_rise(crashed, _rise(usual) * usual.expected(trials)) if told else (0.0, 0)
        if self.crossed:
            if log < threshold and self.minutes.explained_in(first, last):
                self.crossed, self.log_evidence = 0, log
            self.log_evidence = max(self.log_evidence, log)
            return
        self.since, self.log_evidence = first + start, log
        if log >= threshold and crashed[start:].sum() >= MINIMUM_HOSTS:
            self.crossed, self.frozen, self.crashed, self.expected = now, list(usual), 0.0, 0.0

    def _go_on(self, now: int, threshold: float) -> Change:
        gone = now - WINDOW
        if gone >= self.since:
            usual = self._usual()
            self.crashed += float(self.minutes.crashed_in(gone, gone)[0])
            self.expected += float(usual.expected(self.minutes.trials_in(gone, gone))[0])
        was_named = self._is_stale and self._is_named(now, threshold)
        self._is_stale = False
        self.hosts = {host: at for host, at in self.hosts.items() if now - at < QUIET}
        if was_named:
            return self._end(now, "named")
        if now - self.sounds_since >= QUIET and self._is_quiet(now):
            return self._end(now, "usual")
        if now - self.since >= LONGEST:
            return self._end(now, "lasting")
        return "goes_on" if (now - self.sounds_since) % REPEATED == 0 else ""

    def _is_named(self, now: int, threshold: float) -> bool:
        usual, first, last = self._usual(), max(now - WINDOW + 1, self.anew + 1), now - 2
        expected = _rise(usual) * usual.expected(self.minutes.trials_in(first, last))
        log, _ = log_rise(self.minutes.crashed_in(first, last), expected)
        self.log_evidence = max(self.log_evidence, log)
        return log < threshold and bool(self.minutes.explained_in(first, last))

    def _is_quiet(self, now: int) -> bool:
        usual, trials = self._usual(), self.minutes.trials_in(now - QUIET, now - 1)
        hosts = QUIET_HOSTS + _rise(usual) / 2 * float(usual.expected(trials).sum())
        heard = float(trials.sum()) >= QUIET_TRIALS * QUIET * usual.trials_per_minute
        new = float(self.minutes.crashed_in(now - QUIET, now - 1).sum())  # capped by site; the others are not
        return heard and max(len(self.hosts), new) <= hosts

    def _end(self, now: int, why: Ended) -> Change:
        self.over, self.ended = now, why
        self.sounds_since = self.crossed = 0
        self.most, self.log_evidence = self.log_evidence, 0.0
        self.apart = [[self.since, now]] if why != "lasting" else []
        self.anew = now + (2 * SETTLED if why == "lasting" else 0)  # until hours of it are what is usual
        self.hosts.clear()
        return "ended"

    def summary(self) -> dict[str, Any]:
        """For people, fit for JSON: whether it sounds (since when, unix ms, else 0), how often it has."""
        return {"sounds": self.sounds, "since": self.since * MINUTE_MS if self.sounds else 0, "times": self.times}

    def standing(self) -> Standing:
        """Of one that sounds, or has just ended."""
        usual, first = self._usual(), max(self.since, self.minutes.now - WINDOW + 1)
        last = max(self.over or self.minutes.now, first)
        crashed = self.crashed + float(self.minutes.crashed_in(first, last).sum())
        expected = self.expected + float(usual.expected(self.minutes.trials_in(first, last)).sum())
        evidence = self.log_evidence if self.sounds else self.most
        return Standing(self.since, self.over, self.ended, crashed, expected, _rise(usual), evidence, usual.is_known)


def _rise(usual: Usual) -> float:
    return RISE if usual.has_day else RISE_UNTIL_A_DAY


def _key(host: str) -> int:
    digest = hashlib.blake2b(host.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
