"""Free ports, with several processes looking for one at the same time."""

import subprocess
import sys

import pytest

from pipeline.local.machine import ports

LOOK = """
from pipeline.local.machine import ports
ports.FIRST, ports._outgoing_from = {0}, lambda: {0} + 1
print(ports.free_port())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the list of found ports is Linux's")
@pytest.mark.service
def test_what_another_process_found_is_not_found_again() -> None:
    """The only port of the range is found and not bound yet: it is not given away a second time."""
    found = ports.free_port()
    said = subprocess.run([sys.executable, "-c", LOOK.format(found)], capture_output=True, text=True, check=True)
    assert int(said.stdout) != found
