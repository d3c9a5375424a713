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
