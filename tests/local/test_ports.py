"""Free ports, with several processes looking for one at the same time."""

import os
import subprocess
import sys

import pytest

from pipeline.local.machine import ports
from pipeline.local.machine.listeners import strangers

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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who listens")
@pytest.mark.service
def test_what_an_ending_process_leaves_open_is_no_strangers() -> None:
    """Its files are not shown any more, and the engine's threads still hold the port: that "others" had taken it was
    said of the line's own ClickHouse. One that lives, and does not hold it, is told of the stranger."""
    with ports.bind_free() as listener:
        listener.listen()
        port = listener.getsockname()[1]
        assert strangers(os.getpid(), port) == []
        assert strangers(os.getppid(), port) != []
        ended = subprocess.Popen([sys.executable, "-c", ""])
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert strangers(ended.pid, port) is None
        ended.wait()
        assert strangers(ended.pid, port) is None
