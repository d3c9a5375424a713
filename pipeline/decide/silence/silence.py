"""Hosts that fall silent, as evidence: does it happen rather where an update has just come?

Nobody knows what a silent host had. What is known is how many of its stratum listed an update of late, and how many
hosts of each stratum could have fallen silent, and usually do. If the update is harmless, a silent host is one of any
of them; so each is a bet on the share that its stratum has. What befalls all strata alike is no evidence. Taken for
ours, or for an outage, is the silence of a place, a region, a combiner, or all, from which less than half of what is
usual comes; then nothing counts. Why, and how far: docs/statistics.md.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.decide.silence.hosts import DAY, MAX_STRATA, Bools, Hashes, Heard, Hosts, Ints
from pipeline.wire.cells import kind_of, region_of, stratum_of
from pipeline.wire.partials import Partial

Floats = npt.NDArray[np.float64]

LATE = 2  # minutes past which a minute's samples have come
EVERY = 5  # minutes after which it is judged who is due
LOOK = 15  # minutes in which a place must have been heard of
DEAF_SHARE, FEWEST_DUE = 0.5, 4.0
DEAF_FOR = 60  # minutes after it: so long hosts may be due that were not heard meanwhile
PER_SITE, SITE_MINUTES = 3, 30  # silent hosts of a site that count within so long: a fallen switch is one event
HOURS, YOUNG_HOURS = 30, 5  # usual is what was before the last five hours, in which what came lately may have its say
ENOUGH_HOURS = 500.0  # host hours before which nothing is usual
SHRINK = 2.0  # how many silent hosts of its own outweigh the fleet's rate
MOST_SLOTS = 256
SITES = (1 << 15) - 1  # the part of a place's number that is its site's, 0 for none
MOST_WAITING = 1 << 16  # samples
MOST_SPOKEN = 1 << 16  # silent hosts of which it is known what they said
DRIFT = 2.0  # a stratum may fall silent so much oftener, against others, than it used to


class Arrived(NamedTuple):
    """Updates that have come to some strata within YOUNG_HOURS: which, and their shares there, else 0; (S, N). Where
    one that is halted came, silence is laid to it alone."""

    updates: Ints
    shares: Floats
    tolerated: Floats  # (N,)


class Told(NamedTuple):
    """Silent hosts where an update has just come, and how many of all silent ones would be there in any case."""

    observed: float = 0.0
    expected: float = 0.0


NONE_TOLD = Told()
_NO = np.zeros(0, np.int64)
NOBODY = Heard(_NO, _NO, _NO, np.zeros(0, np.uint64), _NO, _NO)


class Silence:
    """Of one fleet. `theta` are the bets, as everywhere."""

    def __init__(self) -> None:
        self.hosts = Hosts()
        self.minute = 0  # as far as it has been judged
        self.logs: dict[int, Floats] = {}  # update → ln of the evidence, by bet
        self.told: dict[int, Told] = {}
        self.spoke: dict[int, list[Any]] = {}  # silent host → what it said against whom: update, e, p, expected
        self.deaf: dict[str, int] = {}  # kind and number of what was not heard → the last minute of that
        self.slots: list[str] = []
        self.at_risk = np.zeros((MAX_STRATA, HOURS))  # host hours of those that could have fallen silent
        self.fallen = np.zeros((MAX_STRATA, HOURS))  # those that did
        self._heard: list[Heard] = []

    def take_in(self, partial: Partial, strata: Ints) -> None:
        """Its samples; `strata` are the positions of the partial's."""
        samples = partial.samples
        if not samples:
            return
        if partial.slot not in self.slots and len(self.slots) < MOST_SLOTS:
            self.slots.append(partial.slot)
        size, slot = len(samples), self.slots.index(partial.slot) if partial.slot in self.slots else -1
        cells = np.fromiter([each.cell for each in samples], np.int64, size)
        self._heard.append(
            Heard(
                np.fromiter([each.minute for each in samples], np.int64, size),
                strata[stratum_of(cells)],
                kind_of(cells),
                np.fromiter([each.host_hash for each in samples], np.uint64, size),
                np.fromiter([each.place for each in samples], np.int64, size),
                np.full(size, slot),
            )
        )

    def rests(self, now: int) -> bool:
        """Whether nothing is to be judged as of now but what has just been heard."""
        return bool(self.minute) and 0 <= now - LATE - self.minute < EVERY

    def advance(self, now: int, arrived: Callable[[], Arrived], theta: Floats) -> bool:
        """Judge as of every fifth minute before `now` whose samples have come; whether evidence has changed."""
        upto, changed = now - LATE, False
        if sum(len(each.hash) for each in self._heard) > MOST_WAITING:  # many reports of long ago
            changed = self._return(self.hosts.hear(self._come(self.minute), self.minute), theta)
        if not self.minute or upto - self.minute > HOURS * 60:
            self.minute = (upto - 1) // EVERY * EVERY
            self.at_risk[:] = self.fallen[:] = 0.0
        while self.minute + EVERY <= upto:
            self.minute += EVERY
            back = self.hosts.hear(self._come(self.minute), self.minute)
            changed |= self._return(back, theta)
            changed |= self._judge(self.minute, arrived, theta)
        return changed

    def _come(self, minute: int) -> Heard:
        """What was heard up to this minute."""
        if not self._heard:
            return NOBODY
        every = Heard(*map(np.concatenate, zip(*self._heard, strict=True)))
        past = every.minute <= minute
        self._heard = [] if past.all() else [every.take(~past)]
        return every.take(past)

    def _judge(self, minute: int, arrived: Callable[[], Arrived], theta: Floats) -> bool:
        hosts = self.hosts
        steady = hosts.steady(minute)
        hour = minute // 60 % HOURS
        if minute % 60 == 0:
            self.at_risk[:, hour] = self.fallen[:, hour] = 0.0
        if not steady.any():
            return False
        able = steady & (hosts.silent_since == 0)
        self._listen(minute, able | (steady & (hosts.silent_since > minute - DAY) & ~hosts.counted))
        count = np.bincount(hosts.stratum[able], minlength=MAX_STRATA).astype(np.float64)
        self.at_risk[:, hour] += count * EVERY / 60.0
        silent = hosts.due(minute)
        if not len(silent):
            return False
        hosts.silent_since[silent] = minute
        silent = silent[~self._unheard(silent, minute)]
        np.add.at(self.fallen[:, hour], hosts.stratum[silent], 1.0)
        rates, chosen = self._usual(minute), self._capped(silent, minute)
        if rates is None or not len(chosen):
            return False
        hosts.counted[chosen] = True
        return self._enter(chosen, count * rates, arrived(), theta)

    def _groups(self, hosts: Ints) -> list[tuple[str, Ints]]:
        """What may fail for many hosts at once, and each of these hosts' part of it."""
        place, slot = self.hosts.place[hosts].astype(np.int64), self.hosts.slot[hosts].astype(np.int64)
        region, site = region_of(place), (place ^ region_of(place)) & SITES  # two sites may look like one
        return [("all", np.zeros_like(place)), ("region", region), ("site", site), ("slot", slot + 1)]

    def _listen(self, minute: int, able: Bools) -> None:
        """Of whom less than half came that was to come, or no more than that within the hour."""
        self.deaf = {name: last for name, last in self.deaf.items() if last > minute - DEAF_FOR}
        hosts = np.flatnonzero(able)
        expected = np.minimum(LOOK / self.hosts.waits()[hosts], 1.0)
        came = (self.hosts.last[hosts] > minute - LOOK).astype(np.float64)
        for kind, group in self._groups(hosts):
            most, heard = (np.bincount(group, each) for each in (expected, came))
            for number in np.flatnonzero((most >= FEWEST_DUE) & (heard < DEAF_SHARE * most)).tolist():
                self.deaf[f"{kind} {number}"] = minute

    def _unheard(self, silent: Ints, minute: int) -> Bools:
        """Whose silence is that of a place, of a combiner or of all."""
        found = np.zeros(len(silent), np.bool_)
        for kind, group in self._groups(silent):
            found |= [self.deaf.get(f"{kind} {number}", 0) > minute - DEAF_FOR for number in group.tolist()]
        return found

    def _capped(self, silent: Ints, minute: int) -> Ints:
        """Those that count: of a site that has a name no more than PER_SITE at a time."""
        hosts = self.hosts
        lately = hosts.counted & (hosts.silent_since > minute - SITE_MINUTES)
        known = dict(zip(*(each.tolist() for each in np.unique(hosts.place[lately], return_counts=True)), strict=True))
        chosen = []
        for host, place in zip(silent.tolist(), hosts.place[silent].tolist(), strict=True):
            known[place] = known.get(place, 0) + 1
            if not place & SITES or known[place] <= PER_SITE:
                chosen.append(host)
        return np.array(chosen, np.int64)

    def _usual(self, minute: int) -> Floats | None:
        """Silent hosts an hour and stratum, shrunk to the fleet's; None while too little is known."""
        hours = np.arange(minute // 60 - HOURS + 1, minute // 60 - YOUNG_HOURS + 1) % HOURS
        hosts, fallen = self.at_risk[:, hours].sum(axis=1), self.fallen[:, hours].sum(axis=1)
        if hosts.sum() < ENOUGH_HOURS:
            return None
        fleet = (fallen.sum() + 1.0) / (hosts.sum() + 1.0)
        result: Floats = (SHRINK + fallen) / (SHRINK / fleet + hosts)
        return result

    def _enter(self, silent: Ints, weights: Floats, arrived: Arrived, theta: Floats) -> bool:
        """Bets on these hosts; `weights` (S,) say how likely each stratum is to be that of a silent host."""
        if not len(arrived.updates):
            return False
        shares = arrived.shares
        most = most_share(shares, weights[: len(shares)], arrived.tolerated)
        more = shares > most  # where it is rather than elsewhere; (S, N)
        usual = (more * weights[: len(shares), None]).sum(axis=0) / max(weights.sum(), 1e-12)
        strata = self.hosts.stratum[silent]
        many = np.bincount(strata, minlength=MAX_STRATA).astype(np.float64)[: len(shares)]
        won = np.tensordot(many, np.log1p(shares[..., None] * (theta - 1.0)), axes=1)  # (N, bets)
        lost = len(silent) * np.log1p(most[:, None] * (theta - 1.0))
        for place in np.flatnonzero(most > 0).tolist():
            update, told = int(arrived.updates[place]), self.of(int(arrived.updates[place]))
            self.logs[update] = self.logs.get(update, 0.0) + won[place] - lost[place]
            seen, expected = float(many @ more[:, place]), len(silent) * float(usual[place])
            self.told[update] = Told(told.observed + seen, told.expected + expected)
        for host, stratum in zip(self.hosts.hash[silent].tolist(), strata.tolist(), strict=True):
            for place in np.flatnonzero(more[stratum]).tolist():
                said = [int(arrived.updates[place]), float(shares[stratum, place]), float(most[place])]
                self.spoke.setdefault(host, []).append([*said, float(usual[place])])
        for host in list(self.spoke)[: max(len(self.spoke) - MOST_SPOKEN, 0)]:
            del self.spoke[host]  # what it said stands for good
        return True

    def _return(self, back: Hashes, theta: Floats) -> bool:
        """Hosts that are heard of again take back what they said against an update; what they said for it stays."""
        changed = False
        for host in back.tolist():
            for update, e, p, expected in self.spoke.pop(host, ()):
                if update in self.logs:
                    self.logs[update] = self.logs[update] - np.log1p(e * (theta - 1.0)) + np.log1p(p * (theta - 1.0))
                    told = self.told[update]
                    self.told[update] = Told(told.observed - 1.0, told.expected - expected)
                    changed = True
        return changed

    def of(self, update: int) -> Told:
        """What was told of it."""
        return self.told.get(update, NONE_TOLD)

    def unheard(self) -> bool:
        """Whether some place, some combiner or all were not heard of within the hour."""
        return any(last > self.minute - DEAF_FOR for last in self.deaf.values())

    def summary(self) -> dict[str, Any]:
        """For people, fit for JSON."""
        hosts = self.hosts
        return {
            "followed": len(hosts),
            "steady": int(hosts.steady(self.minute).sum()),
            "silent": int((hosts.silent_since > 0).sum()),
            "counted": int(hosts.counted.sum()),
            "unheard": sorted(self.deaf),
        }

    def forget(self, updates: Ints) -> None:
        """Whoever has their positions next begins anew."""
        gone = frozenset(updates.tolist())
        for each in (self.logs, self.told):
            for update in gone & each.keys():
                del each[update]
        spoke = ((host, [one for one in said if one[0] not in gone]) for host, said in self.spoke.items())
        self.spoke = {host: said for host, said in spoke if said}

    def pack(self) -> dict[str, Any]:
        """What a snapshot holds of it."""
        plain = {name: value for name, value in vars(self).items() if name not in ("hosts", "_heard")}
        return plain | {"hosts": self.hosts.pack(), "heard": [list(each) for each in self._heard]}

    def restore(self, stored: dict[str, Any]) -> None:
        """The inverse."""
        self.hosts.restore(stored["hosts"])
        self._heard = [Heard(*each) for each in stored["heard"]]
        self.told = {update: Told(*each) for update, each in stored["told"].items()}
        for name in ("minute", "logs", "spoke", "deaf", "slots", "at_risk", "fallen"):
            setattr(self, name, stored[name])


def most_share(shares: Floats, weights: Floats, tolerated: Floats) -> Floats:
    """The largest share that a silent host can be expected to have of each update while that is harmless; (N,).

    `shares` (S, N), `weights` (S,); where it has come hosts may fall silent `tolerated` times as often, and any stratum
    DRIFT times as often as the others, most of all those where it is.
    """
    if not len(shares):
        return np.zeros(shares.shape[1])
    order = np.argsort(-shares, axis=0, kind="stable")
    share = np.take_along_axis(shares, order, axis=0)
    weight = weights[order] * (1.0 + (tolerated - 1.0) * share)
    drifted, has = np.cumsum(weight, axis=0), np.cumsum(weight * share, axis=0)
    sums = drifted[-1] + (DRIFT - 1.0) * drifted
    result: Floats = ((has[-1] + (DRIFT - 1.0) * has) / np.maximum(sums, 1e-12)).max(axis=0)
    return result
