"""What a command prints and cannot: a full disk, a pipe that nobody reads, a stream that was closed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.outside import ANDON
from support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.service

FULL = "standard output takes nothing more: No space left on device"

# By command line, all that end by themselves: click's own output, ours, a table, JSON, and one whose code is an answer.
PRINTING = {
    "--version": 1,
    "query --help": 1,
    "size --endpoints 1000": 1,
    "size --endpoints 1000 --json": 1,
    "query": 1,
    "gate --help": 3,
}


def _run(words: str, **streams: object) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([ANDON, *words.split()], timeout=DEADLINE_SECONDS, check=False, **streams)  # type: ignore


@pytest.mark.parametrize("words", PRINTING)
def test_a_full_disk_is_said_in_one_line(words: str) -> None:
    """And the exit code is a failure's: whoever reads the file takes it for the whole."""
    with Path("/dev/full").open("w") as full:
        done = _run(words, stdout=full, stderr=subprocess.PIPE)
    said = done.stderr.decode().splitlines()
    assert (done.returncode, "No space left on device" in said[-1], len(said)) == (PRINTING[words], True, 1), said


@pytest.mark.parametrize("words", ["--help", "query", "size --endpoints 1000 --json"])
def test_a_pipe_that_nobody_reads_any_more_ends_it_without_a_word(words: str) -> None:
    """`andon … | head -1`: the code says that not all was printed, and nothing else does."""
    reading, writing = os.pipe()
    os.close(reading)
    done = _run(words, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_closed_standard_output_takes_everything() -> None:
    """Also where a table is drawn: nothing was wanted, so nothing is missing."""
    shell = ["sh", "-c", f"exec '{ANDON}' query >&-"]
    done = subprocess.run(shell, stderr=subprocess.PIPE, timeout=DEADLINE_SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("words", "code"), [("topics list --security-protocol SSH", 2), ("size", 2), ("doctor --nosuch", 2)]
)
def test_the_exit_code_is_the_same_where_nothing_can_be_complained(words: str, code: int) -> None:
    """With a full disk behind standard error."""
    with Path("/dev/full").open("w") as full:
        assert _run(words, stdout=subprocess.DEVNULL, stderr=full).returncode == code


LOGS = """
from pipeline import streams
streams.guard()
from pipeline.runtime import logging
log = logging.configure("combine")
for number in range(3):
    log.warning("a word", number=number)
streams.finish()
raise SystemExit(7)
"""


def test_a_stage_goes_on_though_nobody_takes_its_log() -> None:
    """The disk under the log being full is no reason to decide nothing."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", LOGS], stderr=full, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == 7


ANOTHER = """
import errno, os
import click
from pipeline import cli

@click.command()
def broken():
    raise OSError(errno.{errno}, os.strerror(errno.{errno}))

cli.andon.add_command(broken)
cli.andon.get_command = lambda ctx, name: broken
cli.sys.argv = ["andon", "broken"]
cli.main()
"""


def test_a_full_disk_elsewhere_is_not_put_down_to_standard_output() -> None:
    """What nobody expected is told as such, with the place in the code."""
    script = ANOTHER.format(errno="ENOSPC")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=DEADLINE_SECONDS, check=False)
    assert (done.returncode, FULL.encode() in done.stderr, b"Traceback" in done.stderr) == (1, False, True)


@pytest.mark.parametrize("name", ["events.ndjson", "events.ndjson.gz", "events.ndjson.zst"])
def test_a_file_that_cannot_be_written_to_its_end_is_named(name: str, tmp_path: Path) -> None:
    """In one line, packed or not."""
    (tmp_path / name).symlink_to("/dev/full")
    done = _run(f"replay quiet-week --hosts 50 --force --out {tmp_path / name}", stderr=subprocess.PIPE)
    said = done.stderr.decode().splitlines()
    last = f"andon: --out {tmp_path / name}: No space left on device; what stands there is not all"
    assert (done.returncode, said[-1]) == (1, last)
    assert not any("Traceback" in line for line in said)
