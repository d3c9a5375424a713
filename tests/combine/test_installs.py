"""Recent installations in a fold: who installed what, when; however the stream was cut."""

from collections.abc import Sequence

import numpy as np
from support.combine_reference import T
from support.folding import partials_all

from pipeline.wire.events import AnyEvent, Boot, Heartbeat, Update
from pipeline.wire.partials import BUCKET_MS, INSTALLS_PER_MINUTE, decode_partial, encode_partial
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

Installs = set[tuple[str, str, int, int]]  # fleet, version, bucket, host


def heartbeat(host: str, version: str, installed_at: int, fleet: str = "acme", ts: int = T) -> Heartbeat:
    """A sign of life of a host with one update."""
    has = (Update("v", "p", version, installed_at),)
    return Heartbeat(v=1, id=host, fleet=fleet, host=host, ts=ts, ring="r", os="o", model="m", site="", updates=has)


def installs(*batches: Sequence[AnyEvent]) -> Installs:
    """What the partials of these batches say, all together, once on the wire."""
    found: Installs = set()
    for batch in batches:
        for partial in (decode_partial(encode_partial(each)) for each in partials_all(batch, T)):
            rows = np.frombuffer(partial.notes.installs, "<i4").reshape(-1, 3).tolist()
            found |= {(partial.fleet, partial.updates[update].version, at, host) for at, update, host in rows}
    return found


def test_what_is_recent_is_told_of() -> None:
    """A host's installation of the last hour, and not one of yesterday, of the future, or of no usable time."""
    minute = T - MINUTE_MS
    events = [
        heartbeat("a", "1", minute),
        heartbeat("b", "2", T - 24 * HOUR_MS),
        heartbeat("c", "3", T + MINUTE_MS),
        heartbeat("d", "4", 1_577_836_800_000),
        heartbeat("a", "1", minute, fleet="zeta"),
    ]
    found = installs(events)
    assert {(fleet, version, at) for fleet, version, at, _ in found} == {
        ("acme", "1", minute // BUCKET_MS),
        ("zeta", "1", minute // BUCKET_MS),
    }
    assert len({host for *_, host in found}) == 1  # the same host in both


def test_a_boot_that_tells_of_a_crash_at_an_unknown_moment_tells_of_what_it_lists() -> None:
    """It is no evidence against the update, but the host has it."""
    has = (Update("v", "p", "1", T - MINUTE_MS),)
    boot = Boot(
        v=1, id="a", fleet="acme", host="a", ts=T, ring="r", os="o", model="m", site="", prior="crash", updates=has
    )
    assert len(installs([boot])) == 1


def test_of_many_hosts_those_with_the_smallest_hashes_are_told_of_however_the_stream_is_cut() -> None:
    """64 of each minute at most; the smallest of all of them are the same, in one batch or in two."""
    events = [heartbeat(f"h{n}", "1", T - MINUTE_MS * (1 + n % 2)) for n in range(400)]
    whole, cut = installs(events), installs(events[:150], events[150:])
    assert len(whole) == 2 * INSTALLS_PER_MINUTE
    assert whole <= cut
    for bucket in {at for _, _, at, _ in whole}:
        smallest = sorted(host for _, _, at, host in cut if at == bucket)[:INSTALLS_PER_MINUTE]
        assert smallest == sorted(host for _, _, at, host in whole if at == bucket)
