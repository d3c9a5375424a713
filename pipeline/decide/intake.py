"""Taking in a partial: names become positions, trials and crashes are entered, a host counted once."""

from collections import Counter

import numpy as np

from pipeline.decide.arrays import Bools, Floats, Ints, add_at, int_columns, places
from pipeline.decide.buckets import ARCHIVE_MS, DAY_BUCKETS, OPEN_BUCKETS, Bucket
from pipeline.decide.conditional import Retained
from pipeline.decide.dedup import host_key
from pipeline.decide.notes import note, take_notes
from pipeline.decide.policy import PolicySet
from pipeline.decide.samples import BIN_MS
from pipeline.decide.state import REST, DetectorState
from pipeline.decide.trials import odds_of
from pipeline.wire.cells import kind_of, stratum_of
from pipeline.wire.noted import Noted
from pipeline.wire.partials import (
    BUCKET_MS,
    CUT_COLUMNS,
    EXPOSURE_COLUMNS,
    TRIAL_COLUMNS,
    CrashRecord,
    Partial,
    Stratum,
    UpdateId,
)
from pipeline.wire.spans import DAY_MS, HOUR_MS

FORGET_AFTER_BUCKETS = 8 * DAY_BUCKETS


class Intake:
    """Translates one partial's indices; `late` collects crashes of closed buckets, by the 10 minutes they belong to."""

    def __init__(self, state: DetectorState, policies: PolicySet, partial: Partial) -> None:
        self.state = state
        self.policies = policies
        self.partial = partial
        self.late: dict[int, Bucket] = {}
        self._assigned: set[int] = set()  # signatures that have their places
        self._placed: dict[int, set[int]] = {}  # signature → updates that need no place for it any more
        self._control: Counter[int] = Counter()  # stratum → crashed hosts without a halted update
        self._listed: Counter[tuple[int, int]] = Counter()  # stratum, update → those that are no control for it
        self.strata = np.array([self._stratum(Stratum(*s)) for s in partial.strata], dtype=np.int64)
        self.made_room = False
        self.updates = np.array([self._update(u) for u in partial.updates], dtype=np.int64)
        self._update_list: list[int] = self.updates.tolist()
        self._known: dict[tuple[int, ...], tuple[int, ...]] = {}
        state.resize()

    def take_in(self, tolerated: Floats) -> None:
        """Enter everything; stream time has been moved on before. `tolerated` (U,) are the updates' tolerated risks."""
        partial = self.partial
        self.enter_trials(int_columns(partial.trials, TRIAL_COLUMNS))
        self.enter_exposures(int_columns(partial.exposures, EXPOSURE_COLUMNS), tolerated)
        self.enter_samples()
        for crash in partial.crashes:
            if (unused := self.enter_crash(crash)) is not None:
                note(self.state, unused, 1, crash.host, crash.at)
            else:
                note(self.state, Noted.EXPOSURES_EXCLUDED, len(crash.excluded), crash.host, crash.at)
        self.enter_control()
        self.note_cut(int_columns(partial.cut, CUT_COLUMNS), int_columns(partial.cut_exposures, EXPOSURE_COLUMNS))
        take_notes(self.state, partial)
        self.state.events += partial.events

    def _update(self, update: UpdateId) -> int:
        """The update's position, if need be another's; -1 when there is no place for it now."""
        state = self.state
        position = state.updates.add(update)
        if position < 0 and state.room_made_at < state.bucket:
            self.made_room, state.room_made_at = True, state.bucket
            state.resize()
            state.make_room({state.updates.get(name) for name in self.partial.updates})
            position = state.updates.add(update)
        state.unwatched += position < 0
        return position

    def _stratum(self, stratum: Stratum) -> int:
        """The stratum's position; past the limit, rare ones fold into their ring, and rings into the rest."""
        state = self.state
        if state.rings.add(stratum.ring) < 0:
            stratum = Stratum(REST, REST, REST)
        # the last places are kept for the parents, so that there is always one to fold into
        room = state.strata.limit - len(state.rings) - state.rings.limit // 4
        position = state.strata.get(stratum)
        if position < 0:
            known = len(state.strata)
            crowded = known >= room
            parent = Stratum(stratum.ring, REST, REST)
            position = state.strata.add(parent if crowded else stratum)
            if position < 0:
                position = max(state.strata.add(Stratum(REST, REST, REST)), 0)
            if len(state.strata) > known:
                state.resize()
                name = state.strata.names[position]
                state.ring_of[position] = max(state.rings.get(name.ring if name else REST), 0)
                state.pool()
        return position

    def begin_updates(self, buckets: Ints, updates: Ints) -> None:
        """Note first and newest exposures; what history says is fixed when an update first appears."""
        state = self.state
        np.maximum.at(state.seen, updates, np.minimum(buckets, state.bucket))
        fresh = updates[state.since[updates] == 0]
        if len(fresh):
            fresh = np.unique(fresh)
            self._assigned.clear()
            first = np.full(len(state.since), state.bucket)
            np.minimum.at(first, updates, buckets)
            state.since[fresh] = np.maximum(first[fresh], 1)
            ready = state.history.ready()
            state.rates[:, fresh] = state.history.upper_rates()[:, None] if ready else np.nan
            state.past_expected[fresh] = state.past_exposure[fresh] = 0.0 if ready else np.inf

    def enter_trials(self, trials: Ints) -> None:
        """Clean trials: the exposed share, and history."""
        state, (buckets, cells, trials_seen) = self.state, trials
        kinds, strata, counts = kind_of(cells), self.strata[stratum_of(cells)], trials_seen.astype(np.float64)
        state.trials.add_trials(buckets, kinds, strata, counts)
        hours = buckets * BUCKET_MS // HOUR_MS
        for hour in np.unique(hours):
            some = hours == hour
            np.add.at(state.history.trials[:, state.history.place(int(hour) * HOUR_MS)], strata[some], counts[some])

    def enter_exposures(self, columns: Ints, tolerated: Floats) -> None:
        """Exposed and excluded trials, and with them what history expects of each update."""
        state = self.state
        known = self.updates[columns[2]] >= 0
        note(state, Noted.EXPOSURES_EXCLUDED, int(columns[4].sum()))
        note(state, Noted.EXPOSURES_UNWATCHED, int(columns[3:, ~known].sum()))
        buckets, cells, listed, exposures, exclusions = columns if known.all() else columns[:, known]
        kinds, strata, updates = kind_of(cells), self.strata[stratum_of(cells)], self.updates[listed]
        exposed, excluded = exposures.astype(np.float64), exclusions.astype(np.float64)
        some = exposed > 0
        self.begin_updates(buckets[some], updates[some])
        state.trials.add_exposures(buckets, kinds, strata, updates, exposed, excluded)
        s, u, n = strata[some], updates[some], exposed[some]
        state.book.active[s, u] = True
        add_at(state.exposed_trials, (u, state.ring_of[s]), n)
        allowed = n * tolerated[u] * state.shock[u]
        rates = state.rates[s, u]
        usual = np.nanmax(rates) if np.isfinite(rates).any() else np.nan
        np.add.at(state.past_expected, u, allowed * np.where(np.isfinite(rates), rates, usual))
        np.add.at(state.past_exposure, u, allowed)

    def enter_samples(self) -> None:
        """Clean trials in full."""
        strata = self.strata.tolist()
        rows = (
            (s.minute, strata[stratum_of(s.cell)], s.host_hash, s.exposed, s.excluded) for s in self.partial.samples
        )
        self.state.samples.add(rows, self._positions)
        self.state.samples.expire(self.state.bucket * BUCKET_MS // BIN_MS)

    def _positions(self, updates: tuple[int, ...]) -> tuple[int, ...]:
        """Of those updates that have one."""
        known = self._known.get(updates)  # hosts have many lists in common
        if known is None:
            known = tuple([position for u in updates if (position := self._update_list[u]) >= 0])
            self._known[updates] = known
        return known

    def enter_crash(self, crash: CrashRecord) -> Noted | None:
        """Count a crash if its host has not been counted yet, in all or with this signature; else why not."""
        state = self.state
        at = min(crash.at, state.bucket * BUCKET_MS + BUCKET_MS - 1)
        if at < state.bucket * BUCKET_MS - DAY_MS:
            return Noted.CRASHES_LATE
        in_all = self._first_in_all(crash, at)
        named = bool(crash.code or crash.module)
        by_name = named and state.host_signatures.first(host_key(crash.host, crash.code, crash.module), at)
        if not in_all and not by_name:
            return Noted.CRASHES_REPEATED
        stratum = int(self.strata[crash.stratum])
        exposed, excluded = self._positions(crash.exposed), self._positions(crash.excluded)
        listed = np.array(exposed, dtype=np.int64)
        self.begin_updates(np.full(len(listed), at // BUCKET_MS), listed)
        ring = state.ring_of[stratum]
        if in_all:
            state.crashed[listed, ring] += 1
        if not self._site_admits(crash, in_all, named):
            state.capped[listed] = 1.0
            return Noted.CRASHES_CAPPED
        state.book.active[stratum, listed] = True
        signature = self._signature(crash.code, crash.module, at // BUCKET_MS) if named else -1
        bucket = self._bucket(at)
        tainted = tuple(u for u in exposed if u in state.halted)
        again = in_all and not crash.undated and state.hosts.knows(_undated_key(crash), at)  # control already
        parts = [(bucket, frozenset[int]())] * in_all
        if by_name and signature >= 0:
            parts.append((bucket.signature(signature), frozenset() if tainted else self._hit(signature, exposed)))
        for part, placed_by_it in parts:
            if tainted:
                part.add_apart(stratum, tainted if len(tainted) == 1 else ())
            elif again and part is bucket:
                part.add_apart(stratum, exposed)
            else:
                part.add(stratum, tuple(u for u in exposed if u not in placed_by_it), (*excluded, *placed_by_it))
        state.crashes.crashes.append(Retained(at, stratum, signature, exposed, excluded))
        if in_all:
            state.counted[listed, ring] += 1
            if tainted:
                state.masked[[u for u in exposed if u not in state.halted]] += 1
            elif not again:
                state.history.crashes[stratum, state.history.place(at)] += 1
                self._control[stratum] += 1
                self._listed.update((stratum, update) for update in exposed + excluded)
        return None

    def _first_in_all(self, crash: CrashRecord, at: int) -> bool:
        """An undated report speaks for none of the host's updates, so it leaves the host's one count to a dated one."""
        hosts, key = self.state.hosts, host_key(crash.host)
        if not crash.undated:
            return hosts.first(key, at)
        return not hosts.knows(key, at) and hosts.first(_undated_key(crash), at)

    def _site_admits(self, crash: CrashRecord, in_all: bool, named: bool) -> bool:
        """At most so many hosts of a site and minute count, and as many with any one signature; undated reports, which
        speak for no update, take no place of theirs."""
        kinds = ["undated"] if crash.undated else ["hosts"] * in_all + [f"{crash.code}\x1f{crash.module}"] * named
        return self.state.sites.admit(crash.site, crash.at, self.policies.default.crashes_per_site_minute, kinds)

    def note_cut(self, cut: Ints, exposures: Ints) -> None:
        """Crashes that did not fit into the partial are not known by host, so they are no evidence: it is said."""
        note(self.state, Noted.CRASHES_CUT, int(cut[2].sum()))
        updates = self.updates[exposures[2, exposures[3] > 0]]
        self.state.capped[updates[updates >= 0]] = 1.0

    def enter_control(self) -> None:
        """Each crash counts as control for every update live in its stratum that it neither had nor is excluded for."""
        state = self.state
        if not self._control:
            return
        strata, crashes = (np.array(column, dtype=np.int64) for column in zip(*self._control.items(), strict=True))
        row = places(strata)
        control = np.repeat(crashes[:, None].astype(np.float64), len(state.since), axis=1)
        for (stratum, update), count in self._listed.items():
            control[row[stratum], update] -= count
        control *= state.book.active[strata]
        state.control_crashes[:, strata] += control
        share = state.trials.upper_share(strata, state.pools)
        expected = control * odds_of(share)
        for place, ring in enumerate(state.ring_of[strata]):
            state.control[:, ring] += control[place]
            state.expected[:, ring] += expected[place]

    def _bucket(self, at: int) -> Bucket:
        number = at // BUCKET_MS
        if number > self.state.bucket - OPEN_BUCKETS:
            return self.state.open.setdefault(number, Bucket())
        return self.late.setdefault(at // ARCHIVE_MS, Bucket())

    def _signature(self, code: str, module: str, bucket: int) -> int:
        """The signature's position; the one unseen for longest gives way when there are too many."""
        state, known = self.state, len(self.state.signatures)
        position = state.signatures.add((code, module))
        if position < 0:
            oldest = int(state.signature_seen[: len(state.signatures)].argmin())
            state.signatures.remove(oldest)
            state.book.slots[state.book.slots == oldest] = -2  # the place stays spent
            state.signature_crashes[oldest] = 0.0
            state.signature_since[oldest] = 0
            self._assigned.discard(oldest)
            self._placed.pop(oldest, None)
            position = state.signatures.add((code, module))
        if len(state.signatures) > known:
            state.resize()
        if not state.signature_since[position]:
            state.signature_since[position] = max(state.bucket, 1)
        if position not in self._assigned:
            self._assigned.add(position)
            self._assign(position)
        state.signature_seen[position] = max(int(state.signature_seen[position]), bucket)
        state.signature_crashes[position] += 1.0
        return position

    def _assign(self, signature: int) -> None:
        live = np.flatnonzero(self.state.since > 0)
        self.state.book.assign(signature, self._new_to(signature), live, self._rate(signature))

    def _hit(self, signature: int, listed: tuple[int, ...]) -> frozenset[int]:
        """The listed updates that give the signature a place because of this crash."""
        placed = self._placed.setdefault(signature, set())
        fresh = [update for update in listed if update not in placed]
        if not fresh:
            return frozenset()
        placed.update(fresh)
        book, updates = self.state.book, np.array(fresh, dtype=np.int64)
        return frozenset(book.assign_hit(signature, self._new_to(signature), updates, self._rate(signature)).tolist())

    def _new_to(self, signature: int) -> Bools:
        """(U,) whether the fleet had never seen the signature before the update."""
        result: Bools = self.state.since <= self.state.signature_since[signature]
        return result

    def _rate(self, signature: int) -> float:
        history = self.state.history
        return history.signature_rate(float(self.state.signature_crashes[signature])) if history.ready() else np.inf


def _undated_key(crash: CrashRecord) -> int:
    return host_key(crash.host, "undated")
