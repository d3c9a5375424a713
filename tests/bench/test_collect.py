"""`andon bench collect` runs, counts honestly and leaves nothing behind."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.bench.collect import command, report
from pipeline.bench.collect_load import Sent


@pytest.mark.service
def test_bench_prints_one_object_and_leaves_nothing() -> None:
    """A small run: every event acknowledged stands on the topic once; no directory stays."""
    memory = Path("/dev/shm")
    before = set(memory.glob("andon-bench-*")) if os.access(memory, os.W_OK) else set()
    result = CliRunner().invoke(command, ["--json", "--events", "2000", "--encoding", "zstd"], catch_exceptions=False)
    figures = json.loads(result.stdout)
    assert (figures["events"], figures["lost"], figures["repeated"], figures["refused_requests"]) == (2000, 0, 0, 0)
    assert figures["events_per_second"] > 0
    assert set(figures["on"]) >= {"cpus", "broker", "batch", "seed"}
    assert set(memory.glob("andon-bench-*")) <= before


def test_lost_and_repeated_are_counted_by_id() -> None:
    """Two of four ids missing and one thrice on the topic: lost 2, repeated 2."""
    figures = report(Sent(4, 0, 1.0, [0.1, 0.2], 400), Counter(a=1, b=3), 2.0, 1)
    assert (figures["lost"], figures["repeated"], figures["events_per_cpu_second"]) == (2, 2, 2)
