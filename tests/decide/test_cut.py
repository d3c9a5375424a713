"""How the stream is cut does not show; crashes cut from a partial are no evidence, and the verdict says so."""

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.decide_world import feed
from support.folding import partials_all

from pipeline.decide.detector import Detector
from pipeline.decide.orders import Decisions
from pipeline.decide.policy import PolicySet
from pipeline.decide.verdicts import flags_of
from pipeline.wire.events import AnyEvent, Crash, Heartbeat, Signature, Update
from pipeline.wire.partials import EXPOSURE_COLUMNS, MAX_PARTIAL_CRASHES, TRIAL_COLUMNS, Partial
from pipeline.wire.spans import MINUTE_MS

AT = 1_700_000_000_000


def test_a_cut_crash_list_is_flagged() -> None:
    """A mass crash beyond what a partial lists marks the update as capped."""
    updates = (Update("v", "p", "1", AT - MINUTE_MS),)
    common = {"v": 1, "fleet": "f", "ts": AT, "ring": "r", "os": "o", "model": "m", "updates": updates}
    events = [
        Crash(**common, id=str(i), host=f"h{i}", signature=Signature("0x50", "m.sys"))  # type: ignore[arg-type]
        for i in range(MAX_PARTIAL_CRASHES + 100)
    ]
    detector = Detector("f", PolicySet())
    for partial in partials_all(events, AT):
        detector.step(partial)
    assert detector.weighed is not None
    assert "capped" in flags_of(detector.weighed, 0)
    assert detector.state.counts.crashed.sum() == MAX_PARTIAL_CRASHES


def test_a_partial_of_many_buckets_tells_each_verdict_once() -> None:
    """Records of one key are written side by side: two of them could change places, and the newer would not be
    believed."""
    listed = (Update("v", "p", "2", AT - MINUTE_MS),)
    common = {"v": 1, "fleet": "f", "ring": "r", "os": "o", "model": "m"}
    events: list[AnyEvent] = []
    for number in range(600):
        named = common | {"id": str(number), "host": f"h{number}", "ts": AT + number * 1_000}
        named["updates"] = () if number % 20 and number % 7 else listed
        if number % 20:
            events.append(Heartbeat(**named))  # type: ignore[arg-type]
        else:
            events.append(Crash(**named, signature=Signature("0x50", "m.sys")))  # type: ignore[arg-type]
    (partial,) = partials_all(events, AT + 10 * MINUTE_MS)
    told = [verdict.key for verdict in Detector("f", PolicySet()).step(partial).verdicts]
    assert told
    assert len(told) == len(set(told))


def told_by(partials: list[Partial]) -> tuple[list[Decisions], list[bytes]]:
    """What a detector decides, and the evidence that it ends with."""
    detector = Detector("f", PolicySet())
    decided = [detector.step(partial) for partial in partials]
    book, past = detector.state.book, detector.state.past
    return decided, [each.tobytes() for each in (book.pooled, book.strata, past.expected, detector.state.clearing.log)]


def push(seed: int) -> list[AnyEvent]:
    """An hour of 200 hosts in three models, of which half get an update; now and then one crashes."""
    draw, events = random.Random(seed), list[AnyEvent]()
    installed = {host: AT + draw.randrange(30 * MINUTE_MS) for host in range(0, 200, 2)}
    for number in range(1_500):
        host, at = draw.randrange(200), AT + draw.randrange(60 * MINUTE_MS)
        listed = (Update("v", "p", "2", installed[host]),) if installed.get(host, at) < at else ()
        common = {"v": 1, "id": str(number), "fleet": "f", "host": f"h{host}", "ts": at, "ring": "r", "os": "o"}
        common |= {"model": f"m{host % 3}", "updates": listed}
        if number % 75:
            events.append(Heartbeat(**common))  # type: ignore[arg-type]
        else:
            events.append(Crash(**common, signature=Signature("0x50", "m.sys")))  # type: ignore[arg-type]
    return sorted(events, key=lambda event: event.ts)


def test_what_nobody_asks_for_need_not_be_surveyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions and evidence are the same to the last bit as if pools were surveyed at every bucket."""
    events = push(3)
    partials = [part for first in range(0, len(events), 150) for part in partials_all(events[first : first + 150], AT)]
    found = told_by(partials)
    monkeypatch.setattr("pipeline.decide.detector.shares_are_asked", lambda *_: True)
    assert found == told_by(partials)


def test_the_order_of_a_partials_rows_does_not_matter() -> None:
    """Combiners write them by bucket; a partial that does not is taken in by bucket all the same."""
    (partial,) = partials_all(push(5), AT)
    shuffled = {
        name: np.frombuffer(getattr(partial, name), "<i4").reshape(-1, columns)[::-1].tobytes()
        for name, columns in (("trials", TRIAL_COLUMNS), ("exposures", EXPOSURE_COLUMNS))
    }
    books = []
    for each in (partial, msgspec.structs.replace(partial, **shuffled)):
        detector = Detector("f", PolicySet())
        detector.step(each)
        books.append(detector.state.book.pooled)
    assert books[0].any()
    assert books[0] == pytest.approx(books[1], abs=1e-9)


@settings(max_examples=3, deadline=None)
@given(cut_seconds=st.sampled_from((20, 50, 100, 200)), seed=st.integers(0, 1_000))
def test_evidence_does_not_depend_on_the_cut(cut_seconds: int, seed: int) -> None:
    """A push within five minutes, and crashes in it: however the same events were cut into partials, each closed bucket
    is worth the same."""
    draw = random.Random(seed)
    update = Update("v", "p", "2", AT)
    hosts = [(f"h{host}", AT + draw.randrange(5 * MINUTE_MS)) for host in range(120)]
    events: list[AnyEvent] = []
    for number in range(400):
        (host, installed), at = draw.choice(hosts), AT + draw.randrange(-5 * MINUTE_MS, 8 * MINUTE_MS)
        listed = (msgspec.structs.replace(update, installed_at=installed),) if installed <= at else ()
        common = {"v": 1, "id": str(number), "fleet": "f", "host": host, "ts": at, "ring": "r", "os": "o", "model": "m"}
        if number % 20:
            events.append(Heartbeat(**common, updates=listed))  # type: ignore[arg-type]
        else:
            events.append(Crash(**common, updates=listed, signature=Signature("0x50", "m.sys")))  # type: ignore[arg-type]
    fine, coarse = Detector("f", PolicySet()), Detector("f", PolicySet())
    feed(fine, events)
    feed(coarse, events, cut_seconds * 1_000)
    assert fine.state.bucket == coarse.state.bucket
    assert fine.state.book.pooled.any()
    for part in ("pooled", "rings", "strata", "signatures", "exposed", "expected"):
        assert getattr(fine.state.book, part) == pytest.approx(getattr(coarse.state.book, part), abs=1e-6), part
