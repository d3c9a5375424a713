"""The fold against a reference written for reading; in any order and cut; partials within their size."""

import random
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.combine_reference import T, events, read_partials, reference
from support.folding import fold_all, partials_all

from pipeline.combine.emit import most_bytes, partials_of
from pipeline.combine.event_batch import EventBatch
from pipeline.combine.fold import Fold
from pipeline.combine.memory import Memory
from pipeline.wire.cells import BOOT, place_of, region_of
from pipeline.wire.events import AnyEvent, Boot, Crash, Heartbeat, Signature, Update
from pipeline.wire.listed import UpdateNames, columns_of
from pipeline.wire.partials import (
    BUCKET_MS,
    MAX_PARTIAL_BYTES,
    MAX_PARTIAL_CRASHES,
    SAMPLES_PER_CELL_MINUTE,
    Partial,
    SampleRecord,
    decode_partial,
    encode_partial,
)
from pipeline.wire.spans import MINUTE_MS

Placed = tuple[AnyEvent, int, int]  # with its partition and offset

batches = st.lists(events(), max_size=25)


def folded(batch: Sequence[AnyEvent], memory: Memory, first_offset: int = 0) -> Fold:
    """The fold of a batch whose events stand one after the other in partition 0; nothing is committed."""
    taken_in = EventBatch(memory)
    taken_in.add(batch, lambda index: (0, first_offset + index))
    return taken_in.fold()


def partials(batch: Sequence[AnyEvent], memory: Memory, first_offset: int = 0) -> list[Partial]:
    """A batch's partials; it is committed."""
    fold = folded(batch, memory, first_offset)
    memory.commit(fold)
    return partials_of(fold, "test", T)


def placed(batch: Sequence[AnyEvent], partition: int) -> list[Placed]:
    """The events with places of their own."""
    return [(event, partition, offset) for offset, event in enumerate(batch)]


def parts_of(*groups: Sequence[Placed]) -> list[Partial]:
    """The partials of folds of these groups of events, one after the other."""
    parts = []
    for group in groups:
        fold = fold_all([event for event, _, _ in group], lambda index, group=group: group[index][1:])  # type: ignore[misc]
        parts += partials_of(fold, "test", T)
    return parts


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
    found = [decode_partial(encode_partial(partial)) for partial in partials(batch, Memory(1 << 10))]
    assert read_partials(found) == reference((event, 0, offset) for offset, event in enumerate(batch))


@settings(max_examples=60, deadline=None)
@given(batches, st.integers(0, 2))
def test_remembered_lists_fold_alike(batch: list[AnyEvent], every: int) -> None:
    """Whether the events' lists are remembered, all or some of them, the partials are the same."""
    names, columns = UpdateNames(), list[AnyEvent]()
    for number, event in enumerate(batch):
        listed = columns_of(event.updates, names) if number % 3 <= every else event.updates
        columns.append(msgspec.structs.replace(event, updates=listed))
    assert partials(columns, Memory(1 << 10)) == partials(batch, Memory(1 << 10))


@given(batches)
def test_what_a_partial_takes_is_told_without_encoding_it(batch: list[AnyEvent]) -> None:
    """Never less than it takes, so that none is too large; and of a small one not so much that it is encoded."""
    for partial in partials(batch, Memory(1 << 10)):
        assert len(encode_partial(partial)) <= most_bytes(partial) < MAX_PARTIAL_BYTES


@settings(max_examples=60, deadline=None)
@given(batches, batches, batches)
def test_folding_is_associative(first: list[AnyEvent], second: list[AnyEvent], third: list[AnyEvent]) -> None:
    """However three batches are grouped into folds, their partials add up to the same totals."""
    a, b, c = placed(first, 0), placed(second, 1), placed(third, 2)
    whole = read_partials(parts_of(a + b + c))
    assert read_partials(parts_of(a, b, c)) == whole
    assert read_partials(parts_of(a + b, c)) == whole
    assert read_partials(parts_of(a, b + c)) == whole


@settings(max_examples=60, deadline=None)
@given(batches, batches, st.randoms(use_true_random=False))
def test_folding_is_commutative(first: list[AnyEvent], second: list[AnyEvent], chance: random.Random) -> None:
    """Events in any order fold to the same totals, and folds add up in any order."""
    a, b = placed(first, 0), placed(second, 1)
    shuffled = a + b
    chance.shuffle(shuffled)
    assert read_partials(parts_of(shuffled)) == read_partials(parts_of(a + b))
    assert read_partials(parts_of(b, a)) == read_partials(parts_of(a, b))


@settings(max_examples=60, deadline=None)
@given(batches, st.lists(st.integers(0, 25), max_size=3))
def test_where_a_batch_is_cut_does_not_show(batch: list[AnyEvent], cuts: list[int]) -> None:
    """Any cuts of a batch, with one memory, add up to the same totals as the batch in one piece."""
    whole = partials(batch, Memory(1 << 10))
    memory, places = Memory(1 << 10), sorted({0, *cuts, len(batch)})
    parts = [part for start, end in pairwise(places) for part in partials(batch[start:end], memory, start)]
    assert read_partials(parts) == read_partials(whole)


@settings(max_examples=40, deadline=None)
@given(batches)
def test_adding_one_by_one_is_adding_all(batch: list[AnyEvent]) -> None:
    """How many events come at once makes no difference."""
    single, together = EventBatch(Memory(1 << 10)), EventBatch(Memory(1 << 10))
    for offset, event in enumerate(batch):
        single.add([event], lambda _, offset=offset: (0, offset))  # type: ignore[misc]
    together.add(batch, lambda index: (0, index))
    assert partials_of(single.fold(), "test", T) == partials_of(together.fold(), "test", T)


@settings(max_examples=40, deadline=None)
@given(st.lists(batches, min_size=2, max_size=4), st.lists(batches, max_size=1), st.integers(1, 20))
def test_folds_in_one_go_are_folds_one_by_one(
    parts: list[list[AnyEvent]], before: list[list[AnyEvent]], cell_minutes: int
) -> None:
    """The very partials, byte for byte, and the same memory of them, also where it is about to forget."""
    names = UpdateNames()
    one_by_one, in_one_go = Memory(1 << 4), Memory(1 << 4)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipeline.combine.sieve.MAX_CELL_MINUTES", cell_minutes)
        for batch in before:
            assert partials(batch, one_by_one) == partials(batch, in_one_go)
        together, alone = EventBatch(in_one_go), list[Partial]()
        for number, part in enumerate(parts):
            if number % 2:
                part = [msgspec.structs.replace(event, updates=columns_of(event.updates, names)) for event in part]
            alone += partials(part, one_by_one)
            together.add(part, lambda index: (0, index))
            together.cut()
        found = list[Partial]()
        for fold in together.folds():
            in_one_go.commit(fold)
            found += partials_of(fold, "test", T)
        assert [encode_partial(each) for each in found] == [encode_partial(each) for each in alone]
        for batch in parts:
            assert partials(batch, one_by_one) == partials(batch, in_one_go)


@settings(max_examples=40, deadline=None)
@given(batches, batches)
def test_reading_changes_nothing(before: list[AnyEvent], batch: list[AnyEvent]) -> None:
    """A fold gives the same partials whenever they are asked for, and a batch the same fold."""
    memory = Memory(1 << 10)
    partials(before, memory)
    taken_in = EventBatch(memory)
    taken_in.add(batch, lambda index: (0, index))
    fold = taken_in.fold()
    once = partials_of(fold, "test", T)
    assert partials_of(fold, "test", T) == once
    assert partials_of(taken_in.fold(), "test", T) == once


@settings(max_examples=40, deadline=None)
@given(batches, batches, batches)
def test_a_batch_given_up_leaves_no_trace(
    before: list[AnyEvent], given_up: list[AnyEvent], batch: list[AnyEvent]
) -> None:
    """After a rollback the next batch is folded as if the one given up had never been."""
    memory, untouched = Memory(1 << 10), Memory(1 << 10)
    assert partials(before, memory) == partials(before, untouched)
    folded(given_up, memory)
    memory.rollback()
    assert partials(batch, memory) == partials(batch, untouched)


def test_a_host_twice_in_a_minute_takes_one_place_of_the_sample() -> None:
    """The 16 smallest hashes are kept, however often one host's trials count in the minute."""
    hosts = [f"h{n}" for n in range(SAMPLES_PER_CELL_MINUTE)]
    start = T // MINUTE_MS * MINUTE_MS
    batch: list[AnyEvent] = [heartbeat(host, start + n) for host in hosts for n in range(3)]
    (partial,) = partials_all(batch, T)
    assert len(partial.samples) == SAMPLES_PER_CELL_MINUTE


def test_a_sample_says_where_its_host_is() -> None:
    """Hosts of one region have the region's part in common, whatever their site; a sample of before there was a place
    reads as none, and one of now is read by who knows of none."""
    places = [("eu", "ber"), ("eu", "muc"), ("us", "ber"), ("", "")]
    batch = [
        msgspec.structs.replace(heartbeat(f"h{n}", T), region=region, site=site)
        for n, (region, site) in enumerate(places)
    ]
    (partial,) = partials_all(batch, T)
    found = [sample.place for sample in decode_partial(encode_partial(partial)).samples]
    assert sorted(found) == sorted(place_of(*place) for place in places)
    assert len(set(found)) == 4
    assert len({region_of(place) for place in found}) == 3
    raw = msgspec.msgpack.encode(partial.samples[0])
    before = msgspec.msgpack.encode(msgspec.msgpack.decode(raw)[:-1])
    assert msgspec.msgpack.decode(before, type=SampleRecord).place == 0
    old = msgspec.defstruct("Old", list(SampleRecord.__annotations__.items())[:-1], array_like=True)
    assert msgspec.msgpack.decode(raw, type=old).host_hash == partial.samples[0].host_hash  # type: ignore[attr-defined]


def test_every_event_is_counted_once_over_all_partials() -> None:
    """However many partials a fleet needs, their events add up to the events added, and each is within its size."""
    versions = [Update("v" * 100, "p" * 100, f"{n}", T - 1) for n in range(3_000)]
    batch: list[AnyEvent] = [heartbeat(f"h{n}", T, tuple(versions[n * 30 % 3000 :][:30])) for n in range(1_500)]
    batch += [crash(f"c{n}", updates=tuple(versions[n % 2900 :][:40])) for n in range(900)]
    found = partials(batch, Memory(1 << 14))
    assert len(found) > 1
    assert sum(partial.events for partial in found) == len(batch)
    assert max(len(encode_partial(partial)) for partial in found) < MAX_PARTIAL_BYTES
    assert read_partials(found) == reference((event, 0, offset) for offset, event in enumerate(batch))


def test_only_the_crash_list_is_cut_and_the_rest_is_counted() -> None:
    """Of more than 5,000 crashes the first by offset stay in full; the others are counted by stratum and update."""
    update = Update("v", "p", "1", T - 1)
    found = partials_all([crash(f"h{n}", updates=(update,)) for n in range(MAX_PARTIAL_CRASHES + 700)], T)
    totals = read_partials(found)["acme"]
    assert len(totals.crashes) == MAX_PARTIAL_CRASHES
    assert max(found[2] for found in totals.crashes.values()) == MAX_PARTIAL_CRASHES - 1
    assert totals.cut == {(T // BUCKET_MS, ("r", "o", "m")): 700}
    assert len([partial for partial in found if partial.cut_exposures]) == 1


def test_a_boot_loop_is_one_crash() -> None:
    """A host that crashes 1,500 times with one signature is kept once, at its earliest."""
    (partial,) = partials_all([crash("h-1") for _ in range(1_500)], T)
    assert [found.offset for found in partial.crashes] == [0]
    assert partial.events == 1_500


def test_the_same_report_a_thousand_times_is_one_trial() -> None:
    """A repeated message adds to `repeats`, not to the trials."""
    (partial,) = partials([heartbeat("h-1", T)] * 1_000, Memory(1 << 10))
    assert (partial.events, partial.repeats) == (1_000, 999)


def test_boots_of_unknown_end_are_clean_and_hostless_batches_empty() -> None:
    """`prior: unknown` counts as a clean boot; an empty fold has no partials."""
    boot = Boot(v=1, id="e", fleet="acme", host="h", ts=T, ring="r", os="o", model="m", updates=(), prior="unknown")
    totals = read_partials(partials_all([boot], T))["acme"]
    assert totals.trials == {(T // BUCKET_MS, BOOT, ("r", "o", "m")): 1}
    assert partials_all([], T) == partials([], Memory(1 << 10)) == []


def test_distant_buckets_and_many_updates_do_not_overflow() -> None:
    """Times from 2020 to 2100 with thousands of updates in one batch are counted apart."""
    first, last = 1_577_836_800_000, 4_102_444_800_000
    batch: list[AnyEvent] = [
        heartbeat(f"h{n}", ts, tuple(Update("v", f"p{n * 60 + k}", "1", ts - 1) for k in range(60)))
        for n in range(200)
        for ts in (first, last)
    ]
    assert read_partials(partials(batch, Memory(1 << 14))) == reference(
        (event, 0, offset) for offset, event in enumerate(batch)
    )
