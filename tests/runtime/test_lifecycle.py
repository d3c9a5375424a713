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
