"""A child process: started until it is ready, stopped, killed, started again; what it says and what it uses."""

import signal
import sys
from pathlib import Path

import pytest

from pipeline.local.machine.process import Process, andon
from pipeline.local.machine.usage import is_alive, peak_rss_bytes, usage
from pipeline.runtime.errors import AndonError
from pipeline.runtime.waiting import wait_for

pytestmark = pytest.mark.service

SECONDS = 20.0
WAITS = "import time; print('ready', flush=True); time.sleep(60)"


def python(code: str, log: Path, **more: object) -> Process:
    """A process that runs this code."""
    return Process([sys.executable, "-c", code], log, **more)  # type: ignore[arg-type]


def test_it_is_ready_killed_and_lives_again(tmp_path: Path) -> None:
    """Each life prints into the same file, and what one says is not taken for the word of the next."""
    with python(WAITS, tmp_path / "log", ready="ready").start() as process:
        first = process.pid
        assert process.said("ready")
        process.kill()
        assert (process.kills, process.is_running, process.own_end()) == (1, False, None)
        assert process.start().pid != first
        assert is_alive(process.pid)
        assert process.count("ready") == 2
        assert process.heard() == "ready\n"
        with pytest.raises(AndonError, match="runs already"):
            process.start()
    assert not is_alive(process.pid)


def test_one_that_ends_instead_says_why(tmp_path: Path) -> None:
    """The last words are in the error; the exit code is its own end."""
    process = python("import sys; sys.exit('no luck')", tmp_path / "log", name="it", ready="ready")
    with pytest.raises(AndonError, match="it did not say 'ready': no luck"):
        process.start()
    process.start(wait=False)
    assert wait_for(lambda: process.own_end() == 1, SECONDS)


def test_it_stops_or_is_made_to(tmp_path: Path) -> None:
    """SIGTERM and its exit code; one that will not is killed; frozen, it does nothing."""
    code = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); print('ready', flush=True)\n"
    polite = python(code + "signal.pause()", tmp_path / "polite", ready="ready").start()
    assert polite.stop(SECONDS) == 3
    assert polite.own_end() is None
    deaf = code.replace("sys.exit(3)", "None") + "while True: signal.pause()"
    stubborn = python(deaf, tmp_path / "stubborn", ready="ready").start()
    assert stubborn.stop(0.1) == -signal.SIGKILL
    with python(code + "signal.pause()", tmp_path / "frozen", ready="ready").start() as frozen:
        frozen.freeze()
        frozen.send_signal(signal.SIGTERM)
        assert frozen.is_running
        frozen.thaw()
        assert frozen.wait(SECONDS) == 3


def test_its_environment_and_its_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables are added and taken away; standard output may have a file of its own."""
    monkeypatch.setenv("GONE", "x")
    code = "import os, sys; print(os.environ['MORE'], 'GONE' in os.environ); sys.exit('error')"
    environ = {"MORE": "more", "GONE": None}
    process = python(code, tmp_path / "log", environ=environ, output=tmp_path / "output").start()
    assert process.wait(SECONDS) == 1
    assert (tmp_path / "output").read_text() == "more False\n"
    assert process.last_words() == "error\n"


def test_what_it_used_is_known_after_its_end(tmp_path: Path) -> None:
    """CPU time of all its life, and the most memory that it held; of a process that is gone nobody knows anything."""
    code = "import time\nheld = bytearray(80_000_000)\ndel held\nwhile time.process_time() < 0.5: pass\n"
    process = python(code, tmp_path / "log").start()
    assert process.wait(SECONDS) == 0
    assert 0.4 < process.cpu_seconds() < 5  # the kernel counts in ticks, and the last of them may be missing
    assert 80_000_000 < process.peak_rss_bytes() < 200_000_000
    assert (usage(process.pid), peak_rss_bytes(process.pid)) == (None, 0)


def test_andon_is_run_with_this_python() -> None:
    """And with nothing from the directory where it is started."""
    assert andon("up", "--port", 8080) == [sys.executable, "-P", "-m", "pipeline", "up", "--port", "8080"]
