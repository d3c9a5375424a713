"""A family made real under a seed: every event as columns, in the order in which it arrives, and the truth about it."""

from typing import NamedTuple

import numpy as np

from pipeline.bakeoff import crashes as c
from pipeline.bakeoff.hosts import NEVER, Hosts, Installs, Ints, Mask, background, install, populate, span_ms
from pipeline.bakeoff.spec import RENAMED, SIGNATURES, Family, Push, Telling
from pipeline.wire.cells import BOOT, HEARTBEAT
from pipeline.wire.events import MAX_SKEW_MS
from pipeline.wire.partials import UpdateId
from pipeline.wire.spans import DAY_MS, HOUR_MS, MINUTE_MS

CRASH, CRASH_BOOT, UNDATED_BOOT = 2, 3, 4  # kinds of events beside BOOT and HEARTBEAT
_LONGER = 1 << 40  # ms than any story: host * _LONGER + time orders by both, and fits an int64


class Events(NamedTuple):
    """Columns in the order of `sent`; times in ms since the first event. `at` is what the event says it speaks of: of a
    crash the moment of the crash (by the host's clock), else when it was sent. `look`: see crashes.Crashes."""

    sent: Ints
    at: Ints
    host: Ints
    kind: Ints
    look: Ints


class Truth(NamedTuple):
    """Who is at fault, and what crashed when. Updates by number; `crash_update` (n,) is the guilty one's, or a cause
    below 0."""

    wanted: tuple[frozenset[int], ...]  # of each set one is to be halted: a fault, with what it needs to do harm
    tolerated: frozenset[int]  # they raise the crash rate, and by no more than policy tolerates
    released_ms: Ints  # (U,) when each update reached its first host; NEVER if none
    harmful_ms: Ints  # (U,) from when on it does harm; NEVER if it never does
    crash_ms: Ints
    crash_host: Ints
    crash_update: Ints
    back_ms: Ints  # when the host was up again; NEVER if it was not
    crashes_a_day: float  # of the fleet when nothing is wrong
    crashes_a_trial: float  # the same for each clean trial

    @property
    def guilty(self) -> frozenset[int]:
        """Every update that it is right to halt."""
        return frozenset().union(*self.wanted)


class World(NamedTuple):
    """All of it."""

    family: Family
    seed: int
    pushes: list[Push]
    hosts: Hosts
    installs: Installs
    events: Events
    skew_ms: Ints  # (H,) how far each host's clock is ahead
    sources: list[c.Source]  # of crashes without fault
    truth: Truth

    @property
    def updates(self) -> tuple[UpdateId, ...]:
        """By number."""
        return self.installs.updates


TOLERATED = 1.5  # the policy's tolerated risk


def make(family: Family, seed: int, control: float = 1.0) -> World:
    """Draw a family. The same seed gives the same events. `control`: of the ordinary crashes of hosts without the first
    push, from its beginning on, only that share comes about (importance sampling draws so)."""
    rng = np.random.default_rng([seed, *family.name.encode()])
    pushes = [*family.pushes, *background(family, rng)]
    hosts = populate(family, rng)
    installs = install(family, pushes, hosts, rng)
    drawn, sources = c.draw(family, pushes, hosts, installs, rng)
    if control < 1:
        drawn = drawn.take(~c.of_control(drawn, installs) | (rng.random(drawn.at.size) < control))
    told, back = _downtime(family.telling, drawn, rng)
    kept = c.without_downtime(drawn, back)
    crashes, told, back = drawn.take(kept), told[kept], back[kept]
    _react(family, pushes, installs, crashes, back, rng)
    crashes = _rename(family, pushes, installs, crashes)
    events, skew = _events(family, pushes, hosts, installs, crashes, told, back, rng)
    truth = _truth(family, pushes, hosts, installs, crashes, back, sources, events)
    return World(family, seed, pushes, hosts, installs, events, skew, sources, truth)


def _downtime(telling: Telling, drawn: c.Crashes, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """When each crash is told, and when its host is up again (NEVER: it is not heard of again)."""
    size = drawn.at.size
    back = drawn.at + rng.exponential(telling.minutes * MINUTE_MS, size).astype(np.int64)
    back += round(telling.down_seconds * 1000)
    late = (rng.random(size) < telling.late_share) * rng.uniform(0.5, 1.5, size) * telling.late_hours * HOUR_MS
    told = back + late.astype(np.int64)
    silent = (drawn.cause >= 0) & (rng.random(size) < telling.silent_share)
    forged = drawn.cause == c.FORGED_CAUSE
    back = np.where(forged, drawn.at, np.where(silent, NEVER, back))
    return np.where(silent, NEVER, np.where(forged, drawn.at, told)), back


def _react(
    family: Family, pushes: list[Push], installs: Installs, crashes: c.Crashes, back: Ints, rng: np.random.Generator
) -> None:
    """A repair tool goes where a crash was."""
    for row, push in enumerate(pushes):
        if push.after_crash_minutes:
            start = round((family.warm_hours + push.at) * HOUR_MS)
            delay = rng.exponential(push.after_crash_minutes * MINUTE_MS, back.size).astype(np.int64)
            chosen = (crashes.at >= start) & (back != NEVER) & (rng.random(back.size) < push.share)
            np.minimum.at(installs.at[row], crashes.host[chosen], (back + delay)[chosen])


def _rename(family: Family, pushes: list[Push], installs: Installs, crashes: c.Crashes) -> c.Crashes:
    if not family.renamed_by:
        return crashes
    row = [push.name for push in pushes].index(family.renamed_by)
    renamed = (installs.at[row][crashes.host] <= crashes.at) & (crashes.look == 0)
    return crashes._replace(look=np.where(renamed, SIGNATURES.index(RENAMED), crashes.look))


def _events(
    family: Family, pushes: list[Push], hosts: Hosts, installs: Installs, crashes: c.Crashes, told: Ints, back: Ints,
    rng: np.random.Generator,
) -> tuple[Events, Ints]:  # fmt: skip
    telling, end = family.telling, span_ms(family)
    parts = [_beats(family, hosts, rng), _boots(family, pushes, hosts, installs, rng)]
    at, host, kind = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    up = (at >= hosts.born[host]) & (at < hosts.gone[host]) & ~_is_down(at, host, crashes, back)
    up &= rng.random(at.size) < c.awake(family)[np.minimum(at, end - 1) // MINUTE_MS] * telling.sampled
    clean = Events(at[up], at[up], host[up], kind[up], np.full(int(up.sum()), c.CUT))
    columns = [np.concatenate(both) for both in zip(clean, *_reports(telling, crashes, told), strict=True)]
    again = np.flatnonzero(rng.random(columns[0].size) < telling.duplicates)
    sent, at, host, kind, look = (np.concatenate((column, column[again])) for column in columns)
    sent = sent + (rng.random(sent.size) * telling.disorder_minutes * MINUTE_MS).astype(np.int64)
    sent[len(columns[0]) :] += rng.integers(0, HOUR_MS, again.size)
    skew = (rng.standard_normal(len(hosts.ring)) * telling.skew_minutes * MINUTE_MS).astype(np.int64)
    at = at + skew[host]
    sent, heard = _silences(family, hosts, sent, host)
    usable = heard & (sent < end) & (at <= sent + MAX_SKEW_MS) & (at >= -DAY_MS)  # others go to the dead letter
    order = np.flatnonzero(usable)[np.lexsort((kind[usable], host[usable], sent[usable]))]
    return Events(sent[order], at[order], host[order], kind[order], look[order]), skew


def _silences(family: Family, hosts: Hosts, sent: Ints, host: Ints) -> tuple[Ints, Mask]:
    """When events arrive where the way to us is cut for a time, and which do at all."""
    heard: Mask = sent >= round(family.deaf_minutes * MINUTE_MS)
    for shock in family.shocks:
        if shock.silence:
            start = round((family.warm_hours + shock.at) * HOUR_MS)
            stop = start + round(shock.hours * HOUR_MS)
            cut = (sent >= start) & (sent < stop) & hosts.match(shock.where)[host]
            if shock.silence == "lost":
                heard &= ~cut
            else:  # in the order in which it was sent, within two minutes
                sent = np.where(cut, stop + (sent - start) * 2 * MINUTE_MS // (stop - start), sent)
    return sent, heard


def _reports(telling: Telling, crashes: c.Crashes, told: Ints) -> list[Events]:
    """Crash events, and the boots that tell of a crash. A power cut leaves no crash event."""
    heard = told != NEVER
    parts = []
    if telling.by in ("both", "crash"):
        by = heard & (crashes.look != c.CUT)
        parts.append(Events(told[by], crashes.at[by], crashes.host[by], np.full(by.sum(), CRASH), crashes.look[by]))
    by = heard & ((crashes.look == c.CUT) if telling.by == "crash" else (crashes.cause != c.FORGED_CAUSE))
    kind = UNDATED_BOOT if telling.by == "undated" else CRASH_BOOT
    at = told[by] if telling.by == "undated" else crashes.at[by]
    parts.append(Events(told[by] + 1, at, crashes.host[by], np.full(by.sum(), kind), np.full(by.sum(), c.CUT)))
    return parts


def _beats(family: Family, hosts: Hosts, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    size, period = len(hosts.ring), round(family.fleet.beat_minutes * MINUTE_MS)
    if not period:
        return tuple(np.empty(0, np.int64) for _ in range(3))  # type: ignore[return-value]
    starts = np.arange(0, span_ms(family), period)
    at = (rng.integers(0, period, size)[:, None] + starts + rng.integers(0, 3 * MINUTE_MS, (size, starts.size))).ravel()
    return at, np.repeat(np.arange(size), starts.size), np.full(at.size, HEARTBEAT)


def _boots(
    family: Family, pushes: list[Push], hosts: Hosts, installs: Installs, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints]:
    end, size = span_ms(family), len(hosts.ring)
    count = rng.poisson(size * family.fleet.boots_a_day * end / DAY_MS)
    parts = [(rng.integers(0, end, count), rng.integers(0, size, count))]
    for row, push in enumerate(pushes):
        booting = np.flatnonzero((installs.at[row] < end) & (rng.random(size) < push.surge))
        parts.append((installs.at[row][booting] + rng.integers(0, 2 * MINUTE_MS, booting.size), booting))
    at, host = (np.concatenate(column) for column in zip(*parts, strict=True))
    return at, host, np.full(at.size, BOOT)


def _is_down(at: Ints, host: Ints, crashes: c.Crashes, back: Ints) -> Mask:
    """Whether the host was down then."""
    order = np.lexsort((crashes.at, crashes.host))
    starts = np.concatenate(([-1], crashes.host[order] * _LONGER + crashes.at[order]))
    ends = np.concatenate(([-1], crashes.host[order] * _LONGER + np.minimum(back[order], _LONGER - 1)))
    last = np.searchsorted(starts, host * _LONGER + at, side="right") - 1
    down: Mask = (ends[last] > host * _LONGER + at) & (ends[last] // _LONGER == host)
    return down


def _truth(
    family: Family, pushes: list[Push], hosts: Hosts, installs: Installs, crashes: c.Crashes, back: Ints,
    sources: list[c.Source], events: Events,
) -> Truth:  # fmt: skip
    update, names = installs.update, [push.name for push in pushes]
    released = np.full(len(installs.updates), NEVER)
    harmful = released.copy()
    np.minimum.at(released, update, installs.at.min(axis=1))
    wanted, tolerated = [], set()
    for row, push in enumerate(pushes):
        if push.fault is None:
            continue
        if push.fault.risk <= TOLERATED and not (push.fault.crash_share or push.fault.boot_share):
            tolerated.add(int(update[row]))
            continue
        one = {row, names.index(push.fault.only_with) if push.fault.only_with else row}
        wanted.append(frozenset(int(update[of]) for of in one))
        since = c.reach(push, row, pushes, hosts, installs, family.warm_hours).min()
        for of in wanted[-1]:
            harmful[of] = min(harmful[of], since)
    cause = np.where(crashes.cause >= 0, update[np.maximum(crashes.cause, 0)], crashes.cause)
    real = crashes.cause != c.FORGED_CAUSE
    a_day = float(sources[0].rate.sum() * sources[0].level.mean() * DAY_MS)
    a_trial = a_day * span_ms(family) / DAY_MS / max(int((events.kind <= HEARTBEAT).sum()), 1)
    shown = crashes.take(real)
    of_crashes = (shown.at, shown.host, cause[real], back[real])
    return Truth(tuple(dict.fromkeys(wanted)), frozenset(tolerated), released, harmful, *of_crashes, a_day, a_trial)
