"""Places that cannot be written to: the data directory and the cache say so in one line, before anything runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import DEADLINE_SECONDS

from pipeline.local import datadir, stack
from pipeline.local.kafka import jars as kafka_jars
from pipeline.runtime.errors import AndonError, ConfigError

# Root writes everywhere by these rights; without them it is as everybody else.
AS_EVERYBODY = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@pytest.mark.service
def test_a_read_only_directory_is_refused(tmp_path: Path) -> None:
    """The line of a data directory that was made before, on a disk that is now read-only."""
    if AS_EVERYBODY and shutil.which(AS_EVERYBODY[0]) is None:
        pytest.skip("needs setpriv")
    place = datadir.prepare(tmp_path / "line")
    os.close(datadir.lock(place))
    place.chmod(0o500)
    argv = [*AS_EVERYBODY, sys.executable, "-P", "-m", "pipeline", "up", "--data-dir", str(place), "--stages", ""]
    try:
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    finally:
        place.chmod(0o700)
    assert ended.returncode == 2
    said = f"andon: up.data_dir = '{place}': Permission denied; it must be a writable directory"
    assert ended.stderr.splitlines() == [said]


@pytest.mark.service
@pytest.mark.parametrize("name", ["ports.json.new", datadir.LOCK, stack.STACK_FILE, "logs/andon.log"])
def test_what_is_in_the_way_is_named(tmp_path: Path, name: str) -> None:
    """Any file of the line that cannot be written: a ConfigError with its path, and nothing is left running."""
    place = datadir.prepare(tmp_path / "line")
    (place / name).mkdir()
    argv = [sys.executable, "-P", "-m", "pipeline", "up", "--data-dir", str(place), "--stages", ""]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith(f"andon: up.data_dir = '{place}': Is a directory ({place / name})")
    assert not datadir.is_locked(place)


def test_a_line_that_cannot_be_withdrawn_says_why(tmp_path: Path) -> None:
    """`stack.json` cannot be removed: an error that callers can tell, not the system's."""
    (tmp_path / stack.STACK_FILE).mkdir()
    with pytest.raises(ConfigError, match=r"up\.data_dir"):
        stack.remove(tmp_path)


def test_a_home_that_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka's jars go to XDG_CACHE_HOME then, which is said."""
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/proc")
    with pytest.raises(AndonError, match=r"cannot be kept in /proc/.cache/andon: .*; set XDG_CACHE_HOME"):
        kafka_jars.locked().__enter__()


def test_no_home_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process id without an entry in the user table and without HOME, as in containers."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(AndonError, match=r"Could not determine home directory.*set XDG_CACHE_HOME"):
        kafka_jars.cache_dir()
