"""What the combiner notes about events beside folding them: mends, clocks ahead, listings too early, repeats."""

import orjson
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from pipeline.combine.batch import Batch
from pipeline.combine.emit import partials_of
from pipeline.combine.event_batch import DEFAULT_WINDOW_MS, EventBatch
from pipeline.combine.memory import Memory
from pipeline.correlate.check import check_partial
from pipeline.wire.decode import decode_event
from pipeline.wire.hosts import HostNames
from pipeline.wire.learned import LearnedDecoder
from pipeline.wire.partials import MAX_CLOCKS_AHEAD, Notes, Partial
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

NOW = 1_790_000_000_000


def raw(host: str, ts: int = NOW, installed_at: int = NOW - HOUR_MS, **more: object) -> bytes:
    """A heartbeat that lists one update."""
    event = {"v": 1, "id": host, "kind": "heartbeat", "fleet": "acme", "host": host, "ts": ts, "ring": "r", "os": "o"}
    event |= {"model": "m", "updates": [{"vendor": "v", "product": "p", "version": "1", "installed_at": installed_at}]}
    return orjson.dumps(event | more)


def partials(*values: bytes) -> list[Partial]:
    """Of one batch that came now."""
    batch = Batch(LearnedDecoder(), Memory(1 << 12), DEFAULT_WINDOW_MS)
    stamp = (TIMESTAMP_LOG_APPEND_TIME, NOW)
    batch.take([Message(topic="e", partition=0, offset=n, value=v, timestamp=stamp) for n, v in enumerate(values)], NOW)
    found = partials_of(batch.fold(), "0", batch.ingested_at_ms)
    for partial in found:
        check_partial(partial, NOW)
    return found


def test_well_formed_events_leave_no_note() -> None:
    """Nothing but which hosts have installed something of late."""
    (partial,) = partials(raw("a"), raw("b", installed_at=NOW + MINUTE_MS, ts=NOW + 2 * MINUTE_MS))
    assert partial.notes == Notes(installs=partial.notes.installs)


def test_each_fleets_notes_go_into_its_partial() -> None:
    """Mends are counted where they are made."""
    found = partials(raw("a", region=None), raw("b"), raw("c", fleet="other", site=None, region=7), raw("d"))
    assert {partial.fleet: partial.notes.counts for partial in found} == {
        "acme": {"null_text": 1},
        "other": {"null_text": 1, "place_unusable": 1},
    }


def test_what_is_refused_after_all_was_not_mended() -> None:
    """A side issue of an event from the future is none: the event is a dead letter."""
    found = partials(raw("a", region=None), raw("b", ts=NOW + HOUR_MS, region=None, site=7))
    assert [partial.notes.counts for partial in found] == [{"null_text": 1}]


def test_hosts_whose_clocks_are_ahead_are_named() -> None:
    """One whose report is refused for it, and one that lists what is installed two hours later; a crash is no sign."""
    crash = raw("crashed", installed_at=NOW + 2 * HOUR_MS, kind="crash", signature={"code": "0x1", "module": ""})
    (partial,) = partials(raw("fast", ts=NOW + HOUR_MS), raw("zone", installed_at=NOW + 2 * HOUR_MS), crash, raw("ok"))
    assert partial.events == 3
    assert partial.notes.clocks_ahead == {"fast": HOUR_MS, "zone": 2 * HOUR_MS}
    assert partial.notes.counts == {"exposures_not_yet": 2, "crashes_version_unknown": 1}


def test_of_many_clocks_those_furthest_ahead_are_named() -> None:
    """A partial stays bounded when a whole fleet's are."""
    (partial,) = partials(*(raw(f"h{n}", installed_at=NOW + HOUR_MS + n * 1_000) for n in range(500)))
    assert len(partial.notes.clocks_ahead) == MAX_CLOCKS_AHEAD
    assert min(partial.notes.clocks_ahead.values()) == HOUR_MS + (500 - MAX_CLOCKS_AHEAD) * 1_000


def test_repeats_within_a_batch_are_counted() -> None:
    """Of a boot loop one crash goes on; the others are said."""
    crash = raw("a", kind="crash", signature={"code": "0x1", "module": ""})
    (partial,) = partials(*[crash] * 5)
    assert (len(partial.crashes), partial.notes.counts) == (1, {"crashes_repeated": 4})


def test_a_host_has_one_name_however_it_is_spelled() -> None:
    """Three spellings: one trial an hour, one crashed host, one hash among the samples; the others are counted."""
    names = ("h-1", "H-1", "h-1.corp.example")
    crash = {"kind": "crash", "signature": {"code": "0x1", "module": ""}}
    (partial,) = partials(*map(raw, names), *(raw(name, **crash) for name in names))
    assert [(found.host, partial.repeats) for found in partial.crashes] == [("h-1", 2)]
    assert len(partial.samples) == 1
    assert partial.notes.counts == {"host_respelled": 4, "crashes_repeated": 2}


def test_a_domain_that_is_kept_is_part_of_the_name() -> None:
    """As `hosts.keep_domains` says: two machines called web-1."""
    batch = EventBatch(Memory(1 << 12, HostNames(("eu.example",))))
    names = ("web-1.EU.example", "web-1.us.example", "web-1")
    batch.add([decode_event(raw(name)) for name in names], lambda index: (0, index))
    (partial,) = partials_of(batch.fold(), "0", NOW)
    assert (partial.events, partial.repeats) == (3, 1)
