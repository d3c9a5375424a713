"""The parts of `andon bench faults` that need no broker: its schedule, its ledger, its comparisons, its proxy."""

import socket
import threading
from collections import Counter
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.waiting import DEADLINE_SECONDS

from pipeline.bench.faults import main
from pipeline.bench.faults.clickhouse import VIEWED
from pipeline.bench.faults.ledger import Ledger, by_id, expected_in_partials, judge, seen_in_partial, unaccounted
from pipeline.bench.faults.load import event
from pipeline.bench.faults.main import AIMED, ONE_OF_EACH, SCENARIOS, Scenario, chosen, troubles
from pipeline.bench.faults.proxy import Proxies
from pipeline.bench.faults.schedule import LIFE_SECONDS, kills, looks
from pipeline.bench.faults.setup import Figures, Setup
from pipeline.bench.faults.states import different, same
from pipeline.bench.faults.stored import AGGREGATES, expected_cells, wrong_cells
from pipeline.bench.faults.watch import longest_gap
from pipeline.combine import emit
from pipeline.combine.batch import Batch
from pipeline.combine.emit import partials_of
from pipeline.combine.event_batch import DEFAULT_WINDOW_MS
from pipeline.combine.memory import Memory
from pipeline.correlate.checkpoint import VERSION, FleetState
from pipeline.decide import arrays
from pipeline.runtime.errors import AndonError
from pipeline.wire.learned import LearnedDecoder
from pipeline.wire.partials import Partial


def events(count: int) -> list[dict[str, Any]]:
    """Of all kinds, in two fleets and many strata."""
    kinds = ("heartbeat", "boot", "crash")
    return [event(n, f"f-{n % 2}", f"block-{n // 10}", n % 3, kinds[n % 3]) for n in range(count)]


def test_the_same_seed_gives_the_same_schedule() -> None:
    """A run can be repeated: kills depend on seed and scenario only, and every other one is aimed."""
    assert kills(1, "a", 20) == kills(1, "a", 20)
    assert kills(1, "a", 20) != kills(2, "a", 20)
    assert kills(1, "a", 20) != kills(1, "b", 20)
    assert Counter(kill.aim for kill in kills(7, "a", 20)) == {"inside": 10, "any": 10}
    assert all(LIFE_SECONDS[0] <= kill.after_seconds <= LIFE_SECONDS[1] for kill in kills(3, "a", 20))
    assert looks(1, "a", 5) == looks(1, "a", 5)


@given(
    st.dictionaries(st.integers(0, 50), st.integers(1, 5)),
    st.dictionaries(st.integers(0, 50), st.integers(1, 5)),
)
def test_a_loss_never_cancels_a_repeat(produced: dict[int, int], seen: dict[int, int]) -> None:
    """What is missing and what is too much add up apart, key by key, and account for the whole difference."""
    found = judge(produced, seen)
    assert found.lost >= 0 <= found.repeated
    assert found.produced - found.lost + found.repeated == found.seen
    assert (found.lost == found.repeated == 0) == (produced == seen)
    assert judge(seen, produced).lost == found.repeated


def test_the_ledger_knows_what_was_acknowledged() -> None:
    """Values are kept as produced; delivery reports are counted, failures with their reason."""
    ledger = Ledger()
    for one in events(3):
        ledger.add(orjson.dumps(one))
    ledger.answered(None, None)
    ledger.answered("timed out", None)
    assert (len(ledger.values), ledger.acknowledged, ledger.failed) == (3, 1, ["timed out"])
    assert [one["id"] for one in ledger.events()] == ["f-0-0", "f-1-1", "f-0-2"]


def test_the_combiners_own_partials_satisfy_the_ledger_and_a_missing_or_repeated_event_does_not() -> None:
    """The fold of all events agrees with the ledger; without one event, or with one twice, exactly one is wrong."""
    all_of_them = events(200)

    def seen(some: list[dict[str, Any]]) -> Counter[Any]:
        return sum(map(seen_in_partial, partials(some)), Counter())

    expected = expected_in_partials(all_of_them)
    assert judge(expected, seen(all_of_them))[2:] == (0, 0)
    for gone in range(6):
        assert judge(expected, seen(all_of_them[:gone] + all_of_them[gone + 1 :]))[2:] == (1, 0)
    half = seen(all_of_them[:100])
    assert judge(expected, half + seen(all_of_them[99:]))[2:] == (0, 1)


def partials(some: list[dict[str, Any]]) -> list[Partial]:
    """As the combiner folds them, in one batch."""
    batch = Batch(LearnedDecoder(), Memory(1 << 12), DEFAULT_WINDOW_MS)
    batch.take([Message(orjson.dumps(one), offset) for offset, one in enumerate(some)], 0)
    return partials_of(batch.fold(), "0", 0)


@pytest.mark.parametrize("limit_bytes", [1 << 20, 1_500])
def test_events_are_counted_by_fleet_however_many_parts_a_batch_makes(
    monkeypatch: pytest.MonkeyPatch, limit_bytes: int
) -> None:
    """Of the parts of a large batch, as the first after a cut is, only the first counts events; one count that is
    wrong is found all the same."""
    monkeypatch.setattr(emit, "MAX_PARTIAL_BYTES", limit_bytes)
    found = partials(events(200))
    assert (len(found) > 2) == (limit_bytes < 1 << 20)
    seen: Counter[Any] = sum(map(seen_in_partial, found), Counter())
    counted = Counter(dict.fromkeys(("f-0", "f-1"), 0))
    for partial in found:
        counted[partial.fleet] += partial.events
    assert unaccounted(counted, seen) == {}
    assert unaccounted(counted + Counter({"f-1": 3}), seen) == {"f-1": 3}
    assert unaccounted(counted - Counter({"f-0": 100}), seen) == {"f-0": -100}


class Message:
    """As the client hands them out."""

    def __init__(self, value: bytes, offset: int) -> None:
        self._value, self._offset = value, offset

    def value(self) -> bytes:
        """Its bytes."""
        return self._value

    def key(self) -> None:
        """None."""

    def error(self) -> None:
        """None."""

    def topic(self) -> str:
        """Any."""
        return "t"

    def offset(self) -> int:
        """Where it stands."""
        return self._offset

    def partition(self) -> int:
        """Always the first."""
        return 0

    def timestamp(self) -> tuple[int, int]:
        """Just after its event."""
        return 2, int(orjson.loads(self._value)["ts"]) + 1


@pytest.mark.parametrize("table", AGGREGATES)
def test_expected_cells_count_what_an_aggregate_holds(table: str) -> None:
    """Distinct reports, hosts, crashes and crashed hosts; a repeated report changes no cell, a missing one does."""
    some = events(60)
    aggregate = AGGREGATES[table]
    cells = expected_cells(aggregate, some)
    assert cells == expected_cells(aggregate, some + some)
    lists = 2 if aggregate.by_update else 1
    if "crashes" in aggregate.counts:
        crashes = sum(counts[0] for counts in cells.values())
        assert crashes == lists * sum(one["kind"] == "crash" for one in some)
    fewer = expected_cells(aggregate, [one for one in some if one["id"] != "f-0-2"])  # a crash
    assert wrong_cells(cells, cells) == 0
    assert 0 < wrong_cells(cells, fewer) <= lists


def test_by_id_counts_each_report() -> None:
    """Twice is twice."""
    assert by_id([*events(2), *events(1)]) == {"f-0-0": 2, "f-1-1": 1}


def test_states_are_compared_to_the_last_bit() -> None:
    """The order of keys does not matter, NaN equals NaN; one count, one number or one fleet more is a difference."""

    def state(**changes: Any) -> FleetState:
        detector = arrays.pack({"a": np.array([1.0, np.nan]), "b": {"c": [1, "x"]}})
        return msgspec.structs.replace(FleetState(VERSION, "f", 0, 7, 3, 9, (), detector), **changes)

    swapped = arrays.pack({"b": {"c": [1, "x"]}, "a": np.array([1.0, np.nan])})
    assert different({"f": state()}, {"f": state(offset=99, detector=swapped)}) == []
    assert different({"f": state()}, {"f": state(events=10)}) == ["f: events"]
    nudged = arrays.pack({"a": np.array([np.nextafter(1.0, 2.0), np.nan]), "b": {"c": [1, "x"]}})
    assert different({"f": state()}, {"f": state(detector=nudged)}) == ["f: detector"]
    assert different({"f": state()}, {}) == ["f: there is one only"]
    assert not same({"a": 1}, {"b": 1})


def test_the_embedded_broker_is_not_put_to_what_it_cannot_do(capsys: pytest.CaptureFixture[str]) -> None:
    """A named scenario is refused with its reason; unnamed, it is left out, and said to be."""
    with pytest.raises(AndonError, match=r"combiner-killed needs --broker kafka: on the embedded broker .* deaf"):
        chosen(("archive-killed", "combiner-killed"), "embedded", short=True)
    with pytest.raises(AndonError, match="leader-killed needs --broker kafka: it takes 3 brokers"):
        chosen(("leader-killed",), "embedded", short=False)
    fit = {"combiner-scaled", "correlator-killed", "archive-killed", "clickhouse-failing"}
    assert set(chosen((), "embedded", short=True)) == fit
    assert "left out: combiner-killed needs" in capsys.readouterr().err
    assert chosen((), "kafka", short=False) == tuple(name for name in SCENARIOS if name != ONE_OF_EACH)
    assert chosen((), "kafka", short=True) == (ONE_OF_EACH,)
    assert capsys.readouterr().err == ""


def test_what_a_run_must_hold_is_judged() -> None:
    """Losses, differing states and an archive past its bound always; late halts, and kills that all missed, in full."""

    def said(short: bool = False, **figures: Any) -> list[str]:
        good = {
            "lost": 0,
            "different_states": [],
            "kills_in_recovery": 3,
            "archive_rss_under_faults_bytes": 399_999_999,
        }
        return troubles({"scenarios": {"x": good | figures, "other": {"lost": 0}}, "on": {"short": short}})

    assert said() == said(short=True) == []
    for short in (False, True):
        assert said(short, lost=2) == ["x: lost is 2"]
        assert said(short, different_states=["f: events"]) == ["x: different_states is ['f: events']"]
        assert said(short, archive_rss_under_faults_bytes=400_000_001) == [
            "x: the archive grew to 400000001 bytes, past 400000000"
        ]
    for aimed in AIMED:
        assert said(**{aimed: 0}) == [f"x: {aimed} is 0: no aimed kill landed"]
    assert said(halts_late=1) == ["x: halts_late is 1"]
    assert said(short=True, halts_late=1, kills_in_recovery=0) == []


def test_one_scenario_that_fails_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reason stands among the figures of the others, and is a trouble."""

    def fail(_: Setup) -> Figures:
        raise AndonError("no broker left")

    scenarios = {"good": Scenario(lambda _: {"lost": 0}), "bad": Scenario(fail)}
    monkeypatch.setattr(main, "SCENARIOS", scenarios)
    setup: Any = None
    found = {name: main.run(name, setup) for name in scenarios}
    assert found == {"good": {"lost": 0}, "bad": {"failed": "no broker left"}}
    said = troubles({"scenarios": found, "on": {"short": False}})
    assert said == ["bad could not be finished: no broker left"]


def test_half_full_fails_between_events_and_what_is_counted() -> None:
    """By stratum and by update, in tables whose cells are judged, and never `events` itself."""
    assert {AGGREGATES[table].by_update for table in VIEWED} == {False, True}


def test_the_longest_gap() -> None:
    """Between neighbours, not between first and last."""
    assert longest_gap([1.0, 2.0, 7.5, 8.0]) == 5.5
    assert longest_gap([1.0]) == 0.0


def test_a_cut_proxy_holds_back_and_delivers_later() -> None:
    """While cut, nothing passes and the connection stands; healed, every byte arrives in order."""
    with socket.create_server(("127.0.0.1", 0)) as server, Proxies(1) as proxies:
        proxies.connect_to((server.getsockname()[1],))
        with socket.create_connection(("127.0.0.1", proxies.ports[0]), DEADLINE_SECONDS) as client:
            accepted, _ = server.accept()
            with accepted:
                accepted.settimeout(DEADLINE_SECONDS)
                client.sendall(b"before ")
                assert accepted.recv(7) == b"before "
                proxies.cut()
                client.sendall(b"during")
                accepted.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    accepted.recv(1)
                accepted.settimeout(DEADLINE_SECONDS)
                timer = threading.Timer(0.05, proxies.heal)
                timer.start()
                assert accepted.recv(6) == b"during"
                timer.join()
                accepted.sendall(b"answer")
                client.settimeout(DEADLINE_SECONDS)
                assert client.recv(6) == b"answer"
