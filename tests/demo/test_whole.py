"""The demo as README shows it: the whole night, with and without rings."""

import json
import subprocess

import pytest

from pipeline.local.machine.process import andon

pytest.importorskip("noida_db", reason="needs the embedded broker")
pytest.importorskip("chdb", reason="needs the ClickHouse engine")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_demo_spares_most() -> None:
    """Both acts end well, and the halt spares nine of ten hosts that would have been lost without it."""
    done = subprocess.run(andon("demo", "--json"), capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    night, rings = [json.loads(line) for line in done.stdout.splitlines()]
    (guilty,) = (update for update in night["updates"] if update["guilty"])
    assert guilty["lost"] < guilty["lost_without_halt"] / 10
    (slow,) = (update for update in rings["updates"] if update["guilty"])
    assert slow["lost"] < slow["lost_without_halt"]
