"""`andon bench archive`: what it calls fresh, and that it runs."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.clickhouse import LocalClickHouse

from pipeline.bench.archive import Freshness
from pipeline.local.machine.process import Process


class Shows:
    """A client that shows every marked event at once."""

    result_rows = (("late",), ("prompt",))

    def query(self, _: str) -> "Shows":
        """Both."""
        return self


def test_waiting_begins_when_an_event_is_due() -> None:
    """A producer that was held up for five seconds has made its event wait for five seconds."""
    client: Any = Shows()
    fresh, now = Freshness(client), time.monotonic()
    fresh.mark("late", now - 5)
    fresh.mark("prompt", now)
    fresh.finish()
    fresh.watch()
    late, prompt = fresh.seconds
    assert late - prompt == pytest.approx(5)


def test_the_archive_comes_as_the_user_who_may_only_insert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With that user's password, and not the owner's."""
    monkeypatch.setattr(Process, "start", lambda process: process)
    line = LocalClickHouse(tmp_path)
    archive = line.archive("127.0.0.1:1")
    assert archive.argv[archive.argv.index("--clickhouse-user") + 1] == "andon_write"
    assert archive.environ == {"ANDON_CLICKHOUSE_PASSWORD": line.write_password}


@pytest.mark.service
def test_a_small_run() -> None:
    """Nothing lost; both loads, and a dense one costs less per event."""
    size = ("--events", "20000", "--rate", "200", "--seconds", "1")
    argv = [sys.executable, "-m", "pipeline", "bench", "archive", *size, "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [found[name] for name in ("lost", "repeated", "dense_lost", "dense_repeated", "exit_code")] == [0] * 5
    assert found["events"] == 20_200
    assert 0 < found["dense_bytes_per_event_with_aggregates"] < found["bytes_per_event_with_aggregates"]
