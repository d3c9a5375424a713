"""That tests which share a service do share it: what pytest-xdist makes of the groups of tests/support/tiers.py."""

import subprocess
import sys
from pathlib import Path

import pytest

EIGHT = """
import pytest

@pytest.fixture(scope="module")
def costly():
    return object()

@pytest.mark.parametrize("number", range(8))
def test_with(costly, number, worker_id):
    with open({out!r}, "a") as out:
        print(worker_id, file=out)
"""


@pytest.mark.service
def test_a_module_s_fixture_is_made_in_one_process(tmp_path: Path) -> None:
    """With two processes and a group of eight tests, one process runs all of them: a pytest that the plugin does not
    understand would start every broker once in each process, and say nothing."""
    out = tmp_path / "workers"
    (tmp_path / "test_groups.py").write_text(EIGHT.format(out=str(out)), "utf-8")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {Path(__file__).parents[1]}\n", "utf-8")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["support.tiers"]\n', "utf-8")
    argv = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    workers = out.read_text("utf-8").split()
    assert (len(workers), len(set(workers))) == (8, 1)
