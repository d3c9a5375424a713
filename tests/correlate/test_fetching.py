"""Which listed aborted transactions still matter; and that only one file knows Faust."""

import asyncio
from collections import defaultdict
from pathlib import Path

import pytest
from aiokafka.consumer import group_coordinator
from aiokafka.errors import for_code
from faust.types import TP
from intervaltree import IntervalTree

from pipeline.correlate import fetching
from pipeline.correlate.client.driver import ReadCommittedConsumer
from pipeline.correlate.fetching import Passed
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.reading.slots import is_fenced

ROOT = Path(__file__).parents[2]


def test_exact_lists_are_kept() -> None:
    """A transaction that begins in the response, or reaches into it before its marker, keeps its records away."""
    passed = Passed()
    assert passed.still_true(0, [(7, 2)], [(1, 7, False), (3, 7, True)]) == [(7, 2)]
    assert passed.still_true(4, [(7, 5)], []) == [(7, 5)]
    assert passed.still_true(9, [(7, 5)], [(12, 7, True)]) == [(7, 5)]


def test_transactions_that_are_over_are_dropped() -> None:
    """Once the producer's marker was passed, its older transactions say nothing about what follows."""
    passed = Passed()
    passed.still_true(0, [(7, 0)], [(1, 7, True)])
    assert passed.still_true(2, [(7, 0)], [(3, 7, False)]) == []
    assert passed.still_true(4, [(7, 0), (7, 4)], [(5, 7, True)]) == [(7, 4)]


def test_after_a_start_the_next_marker_tells() -> None:
    """Begun in the middle of a log: a commit next means that the listed abort lies behind; an abort may be its own."""
    assert Passed().still_true(50, [(7, 18)], [(51, 7, False), (53, 7, True)]) == []
    assert Passed().still_true(50, [(7, 18)], [(51, 7, True)]) == [(7, 18)]
    assert Passed().still_true(50, [(7, 18)], [(51, 8, False)]) == [(7, 18)]


def test_producers_are_told_apart() -> None:
    """One producer's markers say nothing about another's open transaction."""
    passed = Passed()
    passed.still_true(0, [], [(6, 1, False)])
    assert passed.still_true(7, [(1, 2), (2, 3)], [(9, 2, True)]) == [(2, 3)]


def test_seeking_back_forgets() -> None:
    """After a seek backwards what was passed lies ahead again."""
    passed = Passed()
    passed.still_true(0, [(7, 2)], [(3, 7, True)])
    assert passed.still_true(1, [(7, 0)], [(3, 7, True)]) == [(7, 0)]


def test_a_member_that_is_thrown_out_is_told_so_by_name() -> None:
    """aiokafka knows no such error, and would call it unknown: it is the one that the words of `is_fenced` find."""
    fetching.install("andon-correlate-3")
    error = for_code(82)()
    assert (type(error).__name__, error.errno) == ("FencedInstanceId", 82)
    assert is_fenced(f"{type(error).__name__}: {error}")
    crashed = RuntimeError(f"Faust stopped: {error!r}")
    assert is_fenced(str(crashed))
    beat = group_coordinator.HeartbeatRequest("g", 5, "m").build(fetching.HeartbeatStruct)
    assert (beat.API_VERSION, beat.group_instance_id) == (3, "andon-correlate-3")
    nowhere = KafkaConfig(bootstrap_servers="127.0.0.1:1")
    assert str(fetching.fatal(crashed, nowhere, "3")).startswith("slot 3 is taken: another process is member")
    assert str(fetching.fatal(RuntimeError("else"), nowhere, "3")) == "RuntimeError: else"


def test_faust_keeps_no_book_of_gaps() -> None:
    """Every transaction leaves one, and Faust sorts all of them with each that comes: 70 ms a partial after 8,000."""
    consumer = object.__new__(ReadCommittedConsumer)
    consumer._gap = defaultdict(IntervalTree)
    consumer._committed_offset = defaultdict(lambda: None)
    asyncio.run(consumer._add_gap(TP("fleet.partials", 0), 1, 1))
    assert not consumer._gap


def test_a_fetch_that_is_told_to_end_in_its_pause_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka cancels its fetches to close and awaits them bare: a cancellation that came through would end the
    consumer's thread with its connections open, and Faust's stop would wait for it in vain."""

    async def nothing(*_: object) -> bool:
        return False

    async def close() -> object:
        fetch = asyncio.create_task(fetching._patient_fetch(None))
        await asyncio.sleep(0)  # it pauses now
        fetch.cancel()
        return await fetch

    monkeypatch.setattr(fetching, "_fetch", nothing)
    assert asyncio.run(close()) is False
