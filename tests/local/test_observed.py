"""What `andon up` writes for Prometheus: valid, and of what runs here and nothing else."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.local.observed import targets, write_prometheus
from pipeline.local.stack import StackInfo, StageInfo


def info(place: Path) -> StackInfo:
    """Of a line of which some stages serve metrics."""
    stages = {"broker": StageInfo(), "combine": StageInfo(metrics_port=9102), "notify": StageInfo(metrics_port=9109)}
    return StackInfo(
        supervisor_pid=1, started_at=0, data_dir=str(place), fleet="acme", bootstrap_servers="", metrics_port=9100,
        stages=stages,
    )  # fmt: skip


@pytest.mark.service
def test_prometheus_takes_what_is_written(tmp_path: Path) -> None:
    """As promtool has it, rules too; a second start writes the ports that it has."""
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool (prometheus)")
    told = info(tmp_path)
    write_prometheus(told)
    told.metrics_port = 9999
    write_prometheus(told)
    argv = ["promtool", "check", "config", told.prometheus_file]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    entries = json.loads((tmp_path / "prometheus" / "targets" / "andon.json").read_text())
    assert {each["labels"]["stage"]: each["targets"] for each in entries} == {
        stage: [f"127.0.0.1:{port}"] for stage, port in targets(told).items()
    }
    assert targets(told) == {"combine": 9102, "notify": 9109, "up": 9999}
    assert [file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_mode & 0o077] == []
