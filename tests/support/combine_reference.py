"""The fold again, written for reading and not for speed: the oracle of its tests. Also made events."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pipeline.combine.admit import hours_of, trial_keys
from pipeline.combine.hashing import hash_names
from pipeline.wire.cells import kind_of, stratum_of
from pipeline.wire.events import AnyEvent, Boot, Crash, Heartbeat, Signature, Update
from pipeline.wire.partials import BUCKET_MS, SAMPLES_PER_CELL_MINUTE, Partial
from pipeline.wire.spans import DAY_MS, HOUR_MS

T = 1_764_000_000_000
WINDOW_MS = 72 * HOUR_MS

Name = tuple[str, ...]
Exposure = tuple[frozenset[Name], frozenset[Name]]


@dataclass
class Totals:
    """What a fold says of one fleet, by name."""

    events: int = 0
    repeats: int = 0
    undated: int = 0
    trials: Counter[Any] = field(default_factory=Counter)  # bucket, kind, stratum
    exposed: Counter[Any] = field(default_factory=Counter)  # bucket, kind, stratum, update
    excluded: Counter[Any] = field(default_factory=Counter)
    crashes: dict[Any, Any] = field(default_factory=dict)  # host, code, module, day, undated → the earliest
    cut: Counter[Any] = field(default_factory=Counter)
    samples: dict[Any, dict[int, Exposure]] = field(default_factory=lambda: defaultdict(dict))


def exposure(updates: Iterable[Update], t: int, undated: bool, window_ms: int) -> Exposure:
    """Exposed and excluded updates of a host at time t, word for word as the wire format defines them."""
    here = [(n, u) for n, u in enumerate(updates) if undated or u.installed_at <= t]
    newest: dict[Name, tuple[int, int]] = {}
    for n, u in here:
        name = (u.vendor, u.product, u.version)
        newest[name] = max(newest.get(name, (-1, -1)), (u.installed_at, n))
    exposed = set()
    for name, when in newest.items():
        rivals = [other for rival, other in newest.items() if rival[:2] == name[:2] and rival != name]
        if not undated and t < when[0] + window_ms and all(when > other for other in rivals):
            exposed.add(name)
    return frozenset(exposed), frozenset(newest) - frozenset(exposed)


def in_order(sides: Exposure) -> list[list[Name]]:
    """By which of two exposures of one host in one minute one is kept."""
    return [sorted(side) for side in sides]


def own_hour(event: AnyEvent, kind: int) -> int:
    """The hour by the host's own clock, whose hours begin at a moment of its own."""
    names = hash_names([event.fleet]), hash_names([event.host]), np.array([kind], np.uint64)
    return int(hours_of(trial_keys(*names), np.array([event.ts]))[0])


def reference(events: Iterable[tuple[AnyEvent, int, int]], window_ms: int = WINDOW_MS) -> dict[str, Totals]:
    """Totals by fleet of events with their partition and offset; the first clean trial of a host and hour counts."""
    fleets: dict[str, Totals] = defaultdict(Totals)
    seen: set[Any] = set()
    for event, partition, offset in events:
        totals, stratum = fleets[event.fleet], (event.ring, event.os, event.model)
        totals.events += 1
        if isinstance(event, Crash) or (isinstance(event, Boot) and event.prior == "crash"):
            _crash(totals, event, stratum, partition, offset, window_ms)
            continue
        kind = int(isinstance(event, Heartbeat))
        hour = (event.fleet, event.host, kind, own_hour(event, kind))
        if hour in seen:
            totals.repeats += 1
            continue
        seen.add(hour)
        updates = exposure(event.updates, event.ts, False, window_ms)
        where = (event.ts // BUCKET_MS, kind, stratum)
        totals.trials[where] += 1
        totals.exposed.update((*where, name) for name in updates[0])
        totals.excluded.update((*where, name) for name in updates[1])
        kept = totals.samples[event.ts // 60_000, kind, stratum]
        host = int(hash_names([event.host])[0])  # twice in one minute when an hour of its own ends in it
        kept[host] = min(updates, kept.get(host, updates), key=in_order)
    for totals in fleets.values():
        for sampled in totals.samples.values():
            for host in sorted(sampled)[SAMPLES_PER_CELL_MINUTE:]:
                del sampled[host]
    return dict(fleets)


def _crash(totals: Totals, event: Boot | Crash, stratum: Name, partition: int, offset: int, window_ms: int) -> None:
    t, undated, signature = event.ts, False, ("", "")
    if isinstance(event, Crash):
        signature = (event.signature.code, event.signature.module)
    elif event.prior_ended_at is None:
        undated = True
        totals.undated += 1
    else:
        t = min(event.prior_ended_at, event.ts)
    crash = (t, partition, offset, stratum, event.site, exposure(event.updates, t, undated, window_ms))
    key = (event.host, *signature, t // DAY_MS, undated)
    if key not in totals.crashes or crash[:3] < totals.crashes[key][:3]:
        totals.crashes[key] = crash


def read_partials(partials: Iterable[Partial]) -> dict[str, Totals]:
    """The totals that partials add up to, as the correlator would add them."""
    fleets: dict[str, Totals] = defaultdict(Totals)
    for partial in partials:
        totals = fleets[partial.fleet]
        totals.events += partial.events
        totals.repeats += partial.repeats
        totals.undated += partial.undated
        strata, updates = partial.strata, partial.updates
        for bucket, cell, n in _rows(partial.trials, 3):
            totals.trials[bucket, kind_of(cell), strata[stratum_of(cell)]] += n
        for bucket, cell, update, exposed, excluded in _rows(partial.exposures, 5):
            where = (bucket, kind_of(cell), strata[stratum_of(cell)], updates[update])
            totals.exposed[where] += exposed
            totals.excluded[where] += excluded
        for bucket, stratum, n in _rows(partial.cut, 3):
            totals.cut[bucket, strata[stratum]] += n
        for crash in partial.crashes:
            named = tuple(frozenset(updates[n] for n in numbers) for numbers in (crash.exposed, crash.excluded))
            found = (crash.at, crash.partition, crash.offset, strata[crash.stratum], crash.site, named)
            key = (crash.host, crash.code, crash.module, crash.at // DAY_MS, crash.undated)
            if key not in totals.crashes or found[:3] < totals.crashes[key][:3]:
                totals.crashes[key] = found
        for sample in partial.samples:
            kept = totals.samples[sample.minute, kind_of(sample.cell), strata[stratum_of(sample.cell)]]
            exposed_names, excluded_names = (
                frozenset(updates[n] for n in s) for s in (sample.exposed, sample.excluded)
            )
            found_here = (exposed_names, excluded_names)
            kept[sample.host_hash] = min(found_here, kept.get(sample.host_hash, found_here), key=in_order)
            for host in sorted(kept)[SAMPLES_PER_CELL_MINUTE:]:
                del kept[host]
    for totals in fleets.values():
        totals.exposed, totals.excluded = +totals.exposed, +totals.excluded
    return dict(fleets)


def _rows(column: bytes, width: int) -> Iterator[list[int]]:
    rows: list[list[int]] = np.frombuffer(column, "<i4").reshape(-1, width).tolist()
    return iter(rows)


names = st.sampled_from(["a", "b", "é"])
instants = st.one_of(
    st.integers(-5 * HOUR_MS, 0),
    st.sampled_from([-WINDOW_MS - 1, -WINDOW_MS, 1 - WINDOW_MS, -1, 0, 1, -8 * 24 * HOUR_MS, HOUR_MS]),
)
updates = st.builds(Update, vendor=names, product=names, version=names, installed_at=instants.map(lambda d: T + d))


@st.composite
def events(draw: st.DrawFn) -> AnyEvent:
    """An event among few hosts, strata and updates, so that they meet; within six hours, as admission remembers."""
    common: dict[str, Any] = {
        "v": 1,
        "id": "e",
        "fleet": draw(st.sampled_from(["acme", "zeta"])),
        "host": draw(st.sampled_from(["h1", "h2", "h3", "hôte-4", "a-rather-long-host-name-5"])),
        "ts": T - draw(st.integers(0, 6 * HOUR_MS - 1)),
        "ring": draw(names),
        "os": "w",
        "model": draw(st.sampled_from(["x", "y"])),
        "site": draw(st.sampled_from(["", "ber-3"])),
        "updates": tuple(draw(st.lists(updates, max_size=5))),
    }
    kind = draw(st.sampled_from(["boot", "heartbeat", "crash"]))
    if kind == "boot":
        ended = draw(st.one_of(st.none(), st.integers(-HOUR_MS, HOUR_MS)))
        prior = draw(st.sampled_from(["clean", "crash", "unknown"]))
        return Boot(prior=prior, prior_ended_at=None if ended is None else common["ts"] + ended, **common)
    if kind == "crash":
        return Crash(signature=Signature(draw(names), draw(st.sampled_from(["", "x.sys"]))), **common)
    return Heartbeat(**common)
