"""The fold against a reference written for reading; merging in any order; partials within their size."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from support.combine_reference import T, events, read_partials, reference

from pipeline.combine.admit import Admission
from pipeline.combine.fold import Fold
from pipeline.wire.events import AnyEvent, Boot, Crash, Heartbeat, Signature, Update
from pipeline.wire.partials import MAX_PARTIAL_BYTES, MAX_PARTIAL_CRASHES, decode_partial, encode_partial

batches = st.lists(events(), max_size=25)


def fold_of(batch: Sequence[AnyEvent], admission: Admission | None = None, first_offset: int = 0) -> Fold:
    """The fold of a batch whose events stand one after the other in partition 0."""
    fold = Fold(admission)
    fold.add_all(batch, lambda index: (0, first_offset + index))
    return fold


def heartbeat(host: str, ts: int, updates: tuple[Update, ...] = ()) -> Heartbeat:
    """A sign of life."""
    return Heartbeat(v=1, id="e", fleet="acme", host=host, ts=ts, ring="r", os="o", model="m", updates=updates)


def crash(host: str, code: str = "0x50", updates: tuple[Update, ...] = ()) -> Crash:
    """A crash now."""
    signature = Signature(code, "x.sys")
    return Crash(
        v=1, id="e", fleet="acme", host=host, ts=T, ring="r", os="o", model="m", updates=updates, signature=signature
    )


@settings(max_examples=150, deadline=None)
@given(batches)
def test_the_fold_is_what_the_wire_format_says(batch: list[AnyEvent]) -> None:
    """Trials, exposures, crashes and samples equal those of the reference, through encoded partials."""
    fold = fold_of(batch, Admission(1 << 10))
    partials = [decode_partial(encode_partial(partial)) for partial in fold.partials("0", T)]
    assert read_partials(partials) == reference((event, 0, offset) for offset, event in enumerate(batch))


@settings(max_examples=60, deadline=None)
@given(batches, batches, batches)
def test_merging_is_associative_and_commutative(a: list[AnyEvent], b: list[AnyEvent], c: list[AnyEvent]) -> None:
    """Folds can be merged in any order and grouping."""
    x, y, z = fold_of(a), fold_of(b, first_offset=100), fold_of(c, first_offset=200)
    assert x.merge(y) == y.merge(x)
    assert x.merge(y).merge(z) == x.merge(y.merge(z))
    assert x.merge(Fold()) == x


@settings(max_examples=60, deadline=None)
@given(batches, st.lists(st.integers(0, 25), max_size=3))
def test_where_a_batch_is_cut_does_not_show(batch: list[AnyEvent], cuts: list[int]) -> None:
    """Any cuts of a batch, with one admission, add up to the same totals as the batch in one piece."""
    whole = fold_of(batch, Admission(1 << 10)).partials("0", T)
    admission, places = Admission(1 << 10), sorted({0, *cuts, len(batch)})
    parts = []
    for start, end in pairwise(places):
        part = fold_of(batch[start:end], admission, first_offset=start)
        parts += part.partials("0", T)
    assert read_partials(parts) == read_partials(whole)


@settings(max_examples=40, deadline=None)
@given(batches)
def test_adding_one_by_one_is_adding_all(batch: list[AnyEvent]) -> None:
    """`add` and `add_all` are the same."""
    single = Fold()
    for offset, event in enumerate(batch):
        single.add(event, 0, offset)
    assert single == fold_of(batch)


def test_every_event_is_counted_once_over_all_partials() -> None:
    """However many partials a fleet needs, their events add up to the events added, and each is within its size."""
    versions = [Update("v" * 100, "p" * 100, f"{n}", T - 1) for n in range(3_000)]
    batch: list[AnyEvent] = [heartbeat(f"h{n}", T, tuple(versions[n * 30 % 3000 :][:30])) for n in range(1_500)]
    batch += [crash(f"c{n}", updates=tuple(versions[n % 2900 :][:40])) for n in range(900)]
    fold = fold_of(batch)
    partials = fold.partials("0", T)
    assert len(partials) > 1
    assert sum(partial.events for partial in partials) == len(batch)
    assert max(len(encode_partial(partial)) for partial in partials) < MAX_PARTIAL_BYTES
    assert read_partials(partials) == reference((event, 0, offset) for offset, event in enumerate(batch))


def test_only_the_crash_list_is_cut_and_the_rest_is_counted() -> None:
    """Of more than 5,000 crashes the first by offset stay in full; the others are counted by stratum and update."""
    update = Update("v", "p", "1", T - 1)
    fold = fold_of([crash(f"h{n}", updates=(update,)) for n in range(MAX_PARTIAL_CRASHES + 700)])
    totals = read_partials(fold.partials("0", T))["acme"]
    assert len(totals.crashes) == MAX_PARTIAL_CRASHES
    assert max(found[2] for found in totals.crashes.values()) == MAX_PARTIAL_CRASHES - 1
    assert totals.cut == {(T // 10_000, ("r", "o", "m")): 700}
    cut_exposures = [partial.cut_exposures for partial in fold.partials("0", T) if partial.cut_exposures]
    assert len(cut_exposures) == 1


def test_a_boot_loop_is_one_crash() -> None:
    """A host that crashes 1,500 times with one signature is kept once, at its earliest."""
    fold = fold_of([crash("h-1") for _ in range(1_500)])
    assert [found.offset for found in fold.crashes.values()] == [0]
    assert fold.partials("0", T)[0].events == 1_500


def test_the_same_report_a_thousand_times_is_one_trial() -> None:
    """A repeated message adds to `repeats`, not to the trials."""
    partial = fold_of([heartbeat("h-1", T)] * 1_000, Admission(1 << 10)).partials("0", T)[0]
    assert (partial.events, partial.repeats) == (1_000, 999)


def test_boots_of_unknown_end_are_clean_and_hostless_batches_empty() -> None:
    """`prior: unknown` counts as a clean boot; an empty fold has no partials."""
    boot = Boot(v=1, id="e", fleet="acme", host="h", ts=T, ring="r", os="o", model="m", updates=(), prior="unknown")
    totals = read_partials(fold_of([boot]).partials("0", T))["acme"]
    assert totals.trials == {(T // 10_000, 0, ("r", "o", "m")): 1}
    assert Fold().partials("0", T) == []


def test_distant_buckets_and_many_updates_do_not_overflow() -> None:
    """Times from 2020 to 2100 with thousands of updates in one batch are counted apart."""
    first, last = 1_577_836_800_000, 4_102_444_800_000
    batch: list[AnyEvent] = [
        heartbeat(f"h{n}", ts, tuple(Update("v", f"p{n * 60 + k}", "1", ts - 1) for k in range(60)))
        for n in range(200)
        for ts in (first, last)
    ]
    assert read_partials(fold_of(batch, Admission(1 << 14)).partials("0", T)) == reference(
        (event, 0, offset) for offset, event in enumerate(batch)
    )
