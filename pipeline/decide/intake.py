"""Taking in a partial: names become positions, trials and crashes are entered, a host counted once."""

from collections import Counter
from functools import cached_property
from typing import NamedTuple

import numpy as np

from pipeline.decide.arrays import Ints, add_at, int_columns, places
from pipeline.decide.buckets import ARCHIVE_MS, DAY_BUCKETS, HOUR_BUCKETS, OPEN_BUCKETS, Bucket
from pipeline.decide.conditional import Retained
from pipeline.decide.counts import SignaturePlaces
from pipeline.decide.dedup import host_key
from pipeline.decide.evidence import odds_of
from pipeline.decide.policy import PolicyTable
from pipeline.decide.state import DetectorState, Named
from pipeline.wire.cells import BOOT, place_of, site_of, stratum_of
from pipeline.wire.noted import Noted
from pipeline.wire.partials import BUCKET_MS, CUT_COLUMNS, EXPOSURE_COLUMNS, CrashRecord
from pipeline.wire.spans import DAY_MS, HOUR_MS

FORGET_AFTER_BUCKETS = 8 * DAY_BUCKETS
NOWHERE = "\x1f"  # the site of reports that name neither site nor signature


class Crashed(NamedTuple):
    """A crashed host that has not been counted yet, by positions: in all, or with this signature."""

    record: CrashRecord
    at: int  # unix ms, not after stream time
    stratum: int
    ring: int
    exposed: tuple[int, ...]
    excluded: tuple[int, ...]
    in_all: bool
    by_name: bool

    @property
    def is_named(self) -> bool:
        """Whether it has a signature."""
        return bool(self.record.code or self.record.module)


def take_in(state: DetectorState, policies: PolicyTable, named: Named) -> list[tuple[int, Bucket]]:
    """Enter everything; stream time has been moved on before. The crashes of closed buckets are left to the caller, by
    the 10 minutes that they belong to."""
    intake = Intake(state, policies, named)
    intake.enter_trials()
    intake.enter_exposures()
    intake.enter_samples()
    intake.enter_crashes()
    intake.enter_control()
    intake.note_cut()
    partial, bucket = named.mine.partial, state.bucket
    state.notes.take_in(partial, bucket)
    state.signs.take_in(partial, named.strata, named.updates, bucket, state.trials.trials[2], state.names)
    state.clock.events += partial.events
    state.spreading.take_in(partial, named.updates, state.standing.halted, bucket)
    return sorted(intake.late.items())


class Intake:
    """Of one slice; `late` collects crashes of closed buckets."""

    def __init__(self, state: DetectorState, policies: PolicyTable, named: Named) -> None:
        self.state, self.policies, self.named = state, policies, named
        self.partial, self.strata, self._positions = named.mine.partial, named.strata, named.positions
        self.late: dict[int, Bucket] = {}
        ages, past = (state.signature_ages, state.ages.since), (state.history, state.past)
        self._signatures = SignaturePlaces(state.names.signatures, *ages, state.book, *past, state.counts)
        self._control: Counter[int] = Counter()  # stratum → crashed hosts without a halted update
        self._listed: Counter[tuple[int, int]] = Counter()  # stratum, update → those that are no control for it

    def begin_updates(self, buckets: Ints, updates: Ints, rings: Ints) -> None:
        """Note first and newest exposures; history's word is fixed when an update first appears, and in each ring."""
        state, ages, past = self.state, self.state.ages, self.state.past
        np.maximum.at(ages.seen, updates, np.minimum(buckets, state.bucket))
        if past.ring_since[updates, rings].all():  # then they are known, too
            return
        fresh = updates[ages.since[updates] == 0]
        if len(fresh):
            fresh = np.unique(fresh)
            self._signatures.begin_anew()
            first = np.full(len(ages.since), state.bucket)
            np.minimum.at(first, updates, buckets)
            ages.since[fresh] = np.maximum(first[fresh], 1)
            past.begin(fresh, state.history)
        past.begin_rings(buckets, updates, rings, state.groups.ring_of, state.history)

    def enter_trials(self) -> None:
        """Clean trials: the exposed share, and history."""
        state, rows = self.state, self.named.rows.trials.of(self.named.mine.trials)
        if not len(rows.bucket):
            return
        state.trials.add_trials(rows.bucket, rows.kind, rows.stratum, rows.hosts)
        state.trials.hear(rows.kind, rows.hosts, state.ages.since)
        np.add.at(state.past.pending, rows.stratum, rows.hosts)
        hours = rows.bucket // HOUR_BUCKETS
        for hour in sorted(set(hours.tolist())):
            some = hours == hour
            place = state.history.place(hour * HOUR_MS)
            np.add.at(state.history.trials[:, place], rows.stratum[some], rows.hosts[some])
            state.history.boots[place] += rows.hosts[some & (rows.kind == BOOT)].sum()

    def enter_exposures(self) -> None:
        """Exposed and excluded trials, and with them what history expects of each update."""
        state, mine = self.state, self.named.mine
        exposed, excluded = (each.of(mine.exposures) for each in self.named.rows[1:])
        listed = int(excluded.hosts.sum())
        if -1 in self._positions.updates:
            counts = mine.columns.exposures[3:, mine.exposures].sum(axis=1)
            unwatched = int(counts.sum()) - int(exposed.hosts.sum()) - listed
            state.notes.note(Noted.EXPOSURES_UNWATCHED, unwatched)
            listed = int(counts[1])
        state.notes.note(Noted.EXPOSURES_EXCLUDED, listed)
        for rows, target in ((exposed, state.trials.exposed), (excluded, state.trials.excluded)):
            state.trials.add_listed(target, rows.bucket, rows.kind, rows.stratum, rows.update, rows.hosts)
            np.subtract.at(state.past.control, rows.update, rows.hosts)
        if not len(exposed.bucket):
            return
        buckets, kinds, s, ring, u, n = exposed
        self.begin_updates(buckets, u, ring)
        state.book.active[s, u] = True
        add_at(state.counts.exposed_trials, (u, ring), n)
        young = state.past.is_young(buckets, u, ring)
        state.past.expose(s, u, n, self.policies.tolerated[u], young, kinds == BOOT)

    def enter_samples(self) -> None:
        """Clean trials in full."""
        samples = self.partial.samples
        if samples:
            cells = np.fromiter([sample.cell for sample in samples], np.int64, len(samples))
            self.state.samples.add(samples, self.strata[stratum_of(cells)].tolist(), self._positions)
        self.state.samples.expire(self.state.clock.now_ms)

    def enter_crashes(self) -> None:
        """Count the crashed hosts that have not been counted yet."""
        notes = self.state.notes
        for record in self.partial.crashes:
            if (unused := self._enter_crash(record)) is not None:
                notes.note(unused, 1, record.host, record.at)
            else:
                notes.note(Noted.EXPOSURES_EXCLUDED, len(record.excluded), record.host, record.at)

    def _enter_crash(self, record: CrashRecord) -> Noted | None:
        """None if it counts, else why not."""
        state = self.state
        at = min(record.at, state.clock.now_ms + BUCKET_MS - 1)
        if at < state.clock.now_ms - DAY_MS:
            return Noted.CRASHES_LATE
        crashed = self._first(record, at)
        if not crashed.in_all and not crashed.by_name:
            return Noted.CRASHES_REPEATED
        listed = np.array(crashed.exposed, dtype=np.int64)
        self.begin_updates(np.full(len(listed), at // BUCKET_MS), listed, np.full(len(listed), crashed.ring))
        if crashed.in_all:
            state.counts.crashed[listed, crashed.ring] += 1
        if not self._site_admits(crashed):
            state.counts.capped[listed] = 1.0
            return Noted.CRASHES_CAPPED
        state.book.active[crashed.stratum, listed] = True
        signature = -1
        if crashed.is_named:
            signature = self._signatures.seen(record.code, record.module, at // BUCKET_MS, state.bucket)
        self._count(crashed, signature, listed)
        return None

    def _first(self, record: CrashRecord, at: int) -> Crashed:
        """Whether its host is counted with it for the first time in a day: in all, and with its signature."""
        in_all = self._first_in_all(record, at)
        by_name = bool(record.code or record.module) and self.state.host_signatures.first(
            host_key(record.host, record.code, record.module), at
        )
        stratum = int(self.strata[record.stratum])
        ring = int(self.state.groups.ring_of[stratum])
        exposed, excluded = self._positions[record.exposed], self._positions[record.excluded]
        return Crashed(record, at, stratum, ring, exposed, excluded, in_all, by_name)

    def _first_in_all(self, record: CrashRecord, at: int) -> bool:
        """An undated report speaks for none of the host's updates, so it leaves the host's one count to a dated one."""
        hosts, key = self.state.hosts, host_key(record.host)
        if not record.undated:
            return hosts.first(key, at)
        return not hosts.knows(key, at) and hosts.first(_undated_key(record), at)

    def _site_admits(self, crashed: Crashed) -> bool:
        """At most so many hosts of a site and minute count, and as many with any one signature; undated reports, which
        speak for no update, take no place of theirs. Without site and signature they count like one site's. A site that
        all hosts are at says no more than none: with a signature each counts."""
        record = crashed.record
        named = [f"{record.code}\x1f{record.module}"] * crashed.is_named
        kinds = ["undated"] if record.undated else ["hosts"] * crashed.in_all + named
        most = self.policies.policies.default.crashes_per_site_minute
        site = record.site or ("" if crashed.is_named else NOWHERE)
        if self.state.sites.admit(site, record.at, most, kinds):
            return True
        return crashed.is_named and site_of(place_of("", site)) == self._lone_site

    @cached_property
    def _lone_site(self) -> int:
        """-1 for none. Asked only where a site has crashed more hosts in a minute than count."""
        trials = self.state.trials.trials[2].sum(axis=0)
        return self.state.silence.hosts.lone_site(trials) or -1

    def _count(self, crashed: Crashed, signature: int, listed: Ints) -> None:
        """Enter it into its bucket, and remember it. With a halted update the host is compared for that one only."""
        state, (_, at, stratum, ring, exposed, excluded, in_all, by_name) = self.state, crashed
        halted = tuple([update for update in exposed if update in state.standing.halted])
        dated_after_all = in_all and not crashed.record.undated and state.hosts.knows(_undated_key(crashed.record), at)
        apart = (halted if len(halted) == 1 else ()) if halted else None
        bucket = self._bucket(at)
        if in_all:  # as control the host was counted already with its undated report
            _enter(bucket, crashed, exposed if dated_after_all and not halted else apart, frozenset())
            state.past.crash([*(exposed if apart is None else apart)], ring, at // BUCKET_MS)
        if by_name and signature >= 0:
            placed = frozenset[int]() if halted else self._signatures.hit(signature, exposed)
            _enter(bucket.signature(signature), crashed, apart, placed)
            named = [update for update in (exposed if apart is None else apart) if update not in placed]
            state.past.crash_named(named, state.book.slots, signature, ring, at // BUCKET_MS)
        state.crashes.crashes.append(Retained(at, stratum, signature, exposed, excluded))
        if not in_all:
            return
        state.counts.counted[listed, ring] += 1
        if halted:
            state.counts.masked[[update for update in exposed if update not in state.standing.halted]] += 1
        elif not dated_after_all:
            state.history.crashes[stratum, state.history.place(at)] += 1
            self._control[stratum] += 1
            self._listed.update((stratum, update) for update in exposed + excluded)

    def note_cut(self) -> None:
        """Crashes that did not fit into the partial are not known by host, so they are no evidence: it is said."""
        if not self.partial.cut and not self.partial.cut_exposures:
            return
        cut = int_columns(self.partial.cut, CUT_COLUMNS)
        exposures = int_columns(self.partial.cut_exposures, EXPOSURE_COLUMNS)
        self.state.notes.note(Noted.CRASHES_CUT, int(cut[2].sum()))
        updates = self.named.updates[exposures[2, exposures[3] > 0]]
        self.state.counts.capped[updates[updates >= 0]] = 1.0

    def enter_control(self) -> None:
        """Each crash counts as control for every update live in its stratum that it neither had nor is excluded for."""
        state = self.state
        if not self._control:
            return
        strata, crashes = (np.array(column, dtype=np.int64) for column in zip(*self._control.items(), strict=True))
        row = places(strata)
        control = np.repeat(crashes[:, None].astype(np.float64), len(state.ages.since), axis=1)
        for (stratum, update), count in self._listed.items():
            control[row[stratum], update] -= count
        state.past.elsewhere += control.sum(axis=0)
        control *= state.book.active[strata]
        state.past.control_crashes[:, strata] += control
        expected = control * odds_of(state.trials.shares(strata, state.groups.pools).upper)
        for place, ring in enumerate(state.groups.ring_of[strata]):
            state.counts.control[:, ring] += control[place]
            state.counts.expected[:, ring] += expected[place]

    def _bucket(self, at: int) -> Bucket:
        number = at // BUCKET_MS
        if number > self.state.bucket - OPEN_BUCKETS:
            return self.state.open.at(number)
        return self.late.setdefault(at // ARCHIVE_MS, Bucket())


def _enter(bucket: Bucket, crashed: Crashed, apart: tuple[int, ...] | None, placed: frozenset[int]) -> None:
    """A crashed host, for all, or `apart` for these updates only; it is no evidence for those that are `placed`."""
    if apart is not None:
        bucket.add_apart(crashed.stratum, apart)
    else:
        exposed = tuple([update for update in crashed.exposed if update not in placed])
        bucket.add(crashed.stratum, exposed, (*crashed.excluded, *placed))


def _undated_key(record: CrashRecord) -> int:
    return host_key(record.host, "undated")
