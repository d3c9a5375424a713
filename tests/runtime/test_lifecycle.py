"""How a process ends."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys, threading
from pipeline.runtime.lifecycle import end_within
threading.Thread(target=threading.Event().wait).start()
end_within(0.2, 70)
"""


@pytest.mark.service
def test_a_process_ends_though_a_thread_of_a_library_hangs() -> None:
    """With its exit code, for its supervisor starts it anew only then."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], timeout=60, check=False)
    assert done.returncode == 70


HALF_DONE = """
import atexit, sys
from pipeline.runtime.lifecycle import leave
atexit.register(print, "as at any end")
print("said")
leave(3)
"""


@pytest.mark.service
def test_who_leaves_has_said_all_and_does_nothing_more() -> None:
    """Output that waits is written; what libraries do at an end is not done."""
    done = subprocess.run([sys.executable, "-c", HALF_DONE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, "said\n")


UNEXPECTED = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event
import click
from pipeline import cli

@click.command()
def command():
    ThreadPoolExecutor().submit(Event().wait)
    raise ValueError("nobody expected it")

cli.andon = command
sys.argv = ["andon"]
cli.main()
"""


@pytest.mark.service
def test_what_nobody_expected_ends_a_command_at_once() -> None:
    """With a traceback and exit code 1, though a request in a thread is never answered."""
    done = subprocess.run([sys.executable, "-c", UNEXPECTED], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ValueError: nobody expected it" in done.stderr
