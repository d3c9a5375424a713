"""Who crashes when, and of what: sources of crashes, each a rate by host times a level by minute, drawn by thinning."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.bakeoff.hosts import NEVER, Floats, Hosts, Installs, Ints, Mask, span_ms
from pipeline.bakeoff.spec import ALIKE, ORDINARY, ORDINARY_SHARES, SIGNATURES, Family, Fault, Push, Shock
from pipeline.wire.spans import DAY_MS, HOUR_MS, MINUTE_MS

ORDINARY_CAUSE, SHOCK_CAUSE, FORGED_CAUSE = -1, -2, -3  # a fault's cause is its push's row
CUT = -1  # no signature: a power cut
FRIDAY_MS = 1_772_755_200_000  # 2026-03-06T00:00:00Z: the first event of every family


class Source(NamedTuple):
    """Crashes of one cause: `rate` (H,) per host and ms at level 1, `level` (minutes,); what they look like."""

    cause: int
    rate: Floats
    level: Floats
    looks: Ints
    shares: Floats


class Crashes(NamedTuple):
    """Columns in order of time (ms since the first event); `look` an index into SIGNATURES, or CUT."""

    at: Ints
    host: Ints
    cause: Ints
    look: Ints

    def take(self, chosen: Ints | Mask) -> "Crashes":
        """Those rows."""
        return Crashes(*(column[chosen] for column in self))


def levels(family: Family) -> Floats:
    """Crash rate and activity by minute, 1 on average on an ordinary day."""
    fleet, minutes = family.fleet, span_ms(family) // MINUTE_MS
    days = np.arange(minutes) / (24 * 60)
    swing = (fleet.cycle - 1) / (fleet.cycle + 1)
    return (1 + swing * np.sin(2 * np.pi * days)) * fleet.drift_a_day**days * awake(family)


def awake(family: Family) -> Floats:
    """Share of the machines that are on, by minute: fewer on Saturday and Sunday."""
    days = np.arange(span_ms(family) // MINUTE_MS) // (24 * 60) % 7
    return np.where((days == 1) | (days == 2), family.fleet.weekend, 1.0)


def ordinary(family: Family, hosts: Hosts) -> list[Source]:
    """What crashes hosts whatever is installed: the ordinary, and each shock."""
    fleet = family.fleet
    a_day = fleet.crashes_a_day + fleet.boots_a_day * fleet.boot_crashes
    rate = hosts.risk * a_day / DAY_MS
    level = levels(family)
    looks, shares = np.arange(len(ORDINARY)), np.array(ORDINARY_SHARES)
    sources = [Source(ORDINARY_CAUSE, rate, level, looks, shares)]
    for shock in family.shocks:
        if shock.factor > 1:
            start = round((family.warm_hours + shock.at) * 60)
            minutes = np.arange(level.size)
            during = np.where((minutes >= start) & (minutes < start + shock.hours * 60), level, 0.0)
            mine = np.where(hosts.match(shock.where), rate * (shock.factor - 1), 0.0)
            one = shock.signature is not None
            look = np.array([SIGNATURES.index(shock.signature)]) if shock.signature else looks
            sources.append(Source(SHOCK_CAUSE, mine, during, look, np.ones(1) if one else shares))
    return sources


def draw(
    family: Family, pushes: list[Push], hosts: Hosts, installs: Installs, rng: np.random.Generator
) -> tuple[Crashes, list[Source]]:
    """Every crash, also such as follow within the time that a host is down; and the sources of those without fault."""
    sources = ordinary(family, hosts)
    parts = [_drawn(source, hosts, rng) for source in sources]
    parts += [_cut(family, shock, hosts, rng) for shock in family.shocks if shock.cut_share]
    parts += [_failing(family, shock, installs) for shock in family.shocks if shock.machine_minutes]
    for row, push in enumerate(pushes):
        if push.surge and family.fleet.boot_crashes:
            parts.append(_booted(family, installs.at[row], push.surge, rng))
        if push.fault is not None:
            parts += _faulty(family, row, pushes, hosts, installs, sources[0], rng)
    if family.telling.forging_share:
        parts.append(_forged(family, installs, rng))
    at, host, cause, look = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    alive = (at >= hosts.born[host]) & (at < np.minimum(hosts.gone[host], span_ms(family)))
    found = Crashes(at, host, cause, look).take(alive)
    return found.take(np.lexsort((found.host, found.at))), sources


def _drawn(source: Source, hosts: Hosts, rng: np.random.Generator) -> Crashes:
    weight, minutes = np.cumsum(source.rate), np.cumsum(source.level)
    count = rng.poisson(weight[-1] * minutes[-1] * MINUTE_MS)
    host = np.searchsorted(weight, rng.random(count) * weight[-1], side="right")
    minute = np.searchsorted(minutes, rng.random(count) * minutes[-1], side="right")
    at = minute * MINUTE_MS + rng.integers(0, MINUTE_MS, count)
    look = source.looks[np.searchsorted(np.cumsum(source.shares)[:-1], rng.random(count), side="right")]
    return Crashes(at, np.minimum(host, len(hosts.ring) - 1), np.full(count, source.cause), look)


def reach(push: Push, row: int, pushes: list[Push], hosts: Hosts, installs: Installs, warm_hours: float) -> Ints:
    """From when on the fault of a push works on each host (ms since the first event); NEVER where it does not."""
    fault = push.fault
    assert fault is not None, "asked of guilty pushes only"
    since = np.where(hosts.match(fault.where), installs.at[row], NEVER)
    if fault.only_with:
        other = installs.at[[p.name for p in pushes].index(fault.only_with)]
        since = np.where((since != NEVER) & (other != NEVER), np.maximum(since, other), NEVER)
    onset = round(fault.onset_hours * HOUR_MS)
    since = np.where(since != NEVER, since + onset, NEVER)
    if fault.not_before is not None:
        bomb = round((warm_hours + fault.not_before) * HOUR_MS)
        since = np.where(since != NEVER, np.maximum(since, bomb), NEVER)
    return since


def _faulty(
    family: Family, row: int, pushes: list[Push], hosts: Hosts, installs: Installs, base: Source,
    rng: np.random.Generator,
) -> list[Crashes]:  # fmt: skip
    push = pushes[row]
    fault = push.fault
    assert fault is not None, "asked of guilty pushes only"
    since = reach(push, row, pushes, hosts, installs, family.warm_hours)
    looks, shares = looks_of(fault, base)
    parts = []
    if fault.risk > 1 or fault.boot_share:
        mine = np.where(since != NEVER, base.rate * (fault.risk - 1) + booting(family, fault), 0.0)
        if mine.any():
            found = _drawn(Source(row, mine, base.level, looks, shares), hosts, rng)
            age = found.at - since[found.host]
            burnt = np.minimum(age / (fault.burn_hours * HOUR_MS), 1.0) if fault.burn_hours else np.ones(age.size)
            works = (age >= 0) & (found.at < installs.removed[row][found.host])
            parts.append(found.take(works & (rng.random(age.size) < burnt)))
    if fault.crash_share:
        host = np.flatnonzero((since != NEVER) & (rng.random(len(since)) < fault.crash_share))
        at = since[host] + rng.exponential(fault.crash_minutes * MINUTE_MS, host.size).astype(np.int64)
        host, at = host[at < installs.removed[row][host]], at[at < installs.removed[row][host]]
        look = rng.choice(looks, host.size, p=shares)
        parts.append(Crashes(at, host, np.full(host.size, row), look))
    return parts


def looks_of(fault: Fault, base: Source) -> tuple[Ints, Floats]:
    """What its crashes look like, and how often each."""
    if fault.signature is None:
        return base.looks, base.shares
    looks = [SIGNATURES.index(look) for look in (fault.signature, *ALIKE)[: fault.codes]]
    return np.array(looks), np.full(len(looks), 1 / len(looks))


def booting(family: Family, fault: Fault) -> float:
    """Crashes per host and ms of a fault that strikes at boots, at level 1."""
    return fault.boot_share * family.fleet.boots_a_day / DAY_MS


def _booted(family: Family, installed: Ints, surge: float, rng: np.random.Generator) -> Crashes:
    """Of the hosts that boot to install, as many crash as of any that boot."""
    host = np.flatnonzero((installed < NEVER) & (rng.random(installed.size) < surge * family.fleet.boot_crashes))
    at = installed[host] + rng.integers(0, 2 * MINUTE_MS, host.size)
    look = rng.choice(len(ORDINARY), host.size, p=ORDINARY_SHARES)
    return Crashes(at, host, np.full(host.size, SHOCK_CAUSE), look)


def _cut(family: Family, shock: Shock, hosts: Hosts, rng: np.random.Generator) -> Crashes:
    start = round((family.warm_hours + shock.at) * HOUR_MS)
    host = np.flatnonzero(hosts.match(shock.where) & (rng.random(len(hosts.ring)) < shock.cut_share))
    at = start + rng.integers(0, MINUTE_MS, host.size)
    return Crashes(at, host, np.full(host.size, SHOCK_CAUSE), np.full(host.size, CUT))


def _failing(family: Family, shock: Shock, installs: Installs) -> Crashes:
    """One machine with the first push is broken, and crashes again and again."""
    start = round((family.warm_hours + shock.at) * HOUR_MS)
    host = int(np.flatnonzero(installs.at[0] < start)[:1].sum())
    at = start + np.arange(0, shock.hours * 60, shock.machine_minutes) * MINUTE_MS
    look = CUT if shock.signature is None else SIGNATURES.index(shock.signature)
    columns = (np.full(at.size, value) for value in (host, SHOCK_CAUSE, look))
    return Crashes(at.astype(np.int64), *columns)


def of_control(crashes: Crashes, installs: Installs) -> Mask:
    """Which are ordinary ones of hosts without the first push, since it began."""
    first = installs.at[0]
    own: Mask = crashes.cause == ORDINARY_CAUSE
    own &= (crashes.at >= first.min()) & (crashes.at < first[crashes.host])
    return own


def _forged(family: Family, installs: Installs, rng: np.random.Generator) -> Crashes:
    """Some hosts with the first push claim, once, a crash that never was."""
    since = installs.at[0]
    host = np.flatnonzero((since != NEVER) & (rng.random(len(since)) < family.telling.forging_share))
    at = since[host] + rng.integers(0, 2 * HOUR_MS, host.size)
    return Crashes(at, host, np.full(host.size, FORGED_CAUSE), np.full(host.size, SIGNATURES.index(_FORGED)))


_FORGED = SIGNATURES[len(ORDINARY)]


def without_downtime(crashes: Crashes, back: npt.NDArray[np.int64]) -> Mask:
    """Which crashes come about: a host that is down until `back` (ms) does not crash."""
    up_from: dict[int, int] = {}
    kept = np.ones(crashes.at.size, np.bool_)
    for place, (at, host, until) in enumerate(
        zip(crashes.at.tolist(), crashes.host.tolist(), back.tolist(), strict=True)
    ):
        if at < up_from.get(host, 0):
            kept[place] = False
        else:
            up_from[host] = until
    return kept
