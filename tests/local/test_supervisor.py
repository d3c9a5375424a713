"""The supervisor: restarts with backoff, readable bounded logs, clean stops."""

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from support.waiting import DEADLINE_SECONDS
from support.waiting import until as wait_until

from pipeline.local.child import describe
from pipeline.local.machine.leash import leash
from pipeline.local.machine.ports import bind_free
from pipeline.local.machine.usage import is_alive
from pipeline.local.mergedlog import MAX_LINE_BYTES, LineSplitter, MergedLog
from pipeline.local.supervisor import Backoff, ProcessSpec, Supervised, Supervisor
from pipeline.runtime.errors import AndonError

QUICK = Backoff(first_seconds=0.02, cap_seconds=0.05, healthy_seconds=30.0)


def test_backoff_doubles_to_its_cap_and_forgets_after_health() -> None:
    """0.25, 0.5, 1 … 30 s while ends follow each other; a healthy run starts the count anew."""
    backoff = Backoff()
    assert [backoff.delay_seconds(n) for n in (1, 2, 3, 4)] == [0.25, 0.5, 1.0, 2.0]
    assert backoff.delay_seconds(1000) == 30.0
    assert backoff.failures(7, ran_seconds=1.0) == 8
    assert backoff.failures(7, ran_seconds=30.0) == 1


def test_lines_are_escaped_and_bounded() -> None:
    """Terminal escapes cannot act, a line without end is cut, and what follows it is read."""
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == ["one"]
    assert splitter.feed(b"o\x1b[2J\xff\r\n") == ["two\\x1b[2J�"]
    endless = splitter.feed(b"x" * (MAX_LINE_BYTES + 1))
    assert [len(line) for line in endless] == [MAX_LINE_BYTES + len(" … (cut)")]
    assert splitter.feed(b"y" * MAX_LINE_BYTES + b"tail\nnext\n") == ["next"]
    assert splitter.feed(b"end") == []
    assert splitter.end() == ["end"]


def test_a_stopped_terminal_never_stops_the_line(tmp_path: Path) -> None:
    """With nobody reading the terminal, every line still reaches the file, and logging does not wait."""
    read, write = os.pipe()
    try:
        with os.fdopen(write, "w") as terminal:
            log = MergedLog(tmp_path / "log", terminal, 8)
            for number in range(30_000):
                log.line("combine", f"line {number}")
            assert (tmp_path / "log").read_text().count("\n") == 30_000
            os.close(read)
            read = -1
            log.close()
    except BrokenPipeError:
        pass  # closing the file flushes what the pipe no longer takes
    finally:
        if read >= 0:
            os.close(read)


def test_the_terminal_shows_one_clock(tmp_path: Path) -> None:
    """A stage's own exact time is in the file; people read one."""
    terminal = io.StringIO()
    log = MergedLog(tmp_path / "log", terminal, 7)
    log.line("combine", "2026-11-27T08:42:07.574414Z [warning  ] late slot=0")
    log.close()
    assert re.fullmatch(r"\d\d:\d\d:\d\d combine \| \[warning  \] late slot=0\n", terminal.getvalue())
    assert " combine | 2026-11-27T08:42:07.574414Z [warning  ] late" in (tmp_path / "log").read_text()


def test_the_terminal_shows_what_goes_wrong_and_the_file_everything(tmp_path: Path) -> None:
    """Configurations that stages and Apache Kafka print at start are in the file only; errors, with the lines that
    belong to them, and last words without a level are on both."""
    terminal = io.StringIO()
    log = MergedLog(tmp_path / "log", terminal, 7)
    lines = {
        "broker": ["a banner", "[2026-11-27 08:42:07,574] INFO KafkaConfig values:", "    advertised.listeners = x"],
        "combine": ["2026-11-27T08:42:07.574414Z [info     ] starting kafka={'bootstrap_servers': 'x'}"],
        "archive": ["2026-11-27T08:42:07.574414Z [error    ] no insert", "  its second line"],
        "collect": ["andon: kafka.sasl_username is empty"],
        "andon": ["starting"],
    }
    for stage, said in lines.items():
        for line in said:
            log.line(stage, line)
    log.close()
    shown, kept = terminal.getvalue(), (tmp_path / "log").read_text()
    assert kept.count("\n") == sum(map(len, lines.values()))
    assert [line.partition("| ")[2] for line in shown.splitlines()] == [
        "[error    ] no insert",
        "  its second line",
        "andon: kafka.sasl_username is empty",
        "starting",
    ]


def test_a_full_disk_is_said_once_a_minute(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not once a line, and not with logging's traceback; what is to be seen on the terminal still is."""
    terminal = io.StringIO()
    (tmp_path / "log").symlink_to("/dev/full")
    log = MergedLog(tmp_path / "log", terminal, 7)
    for number in range(1_000):
        log.line("andon", f"line {number}")
    log.close()
    assert terminal.getvalue().count("the log file cannot be written: No space left on device") == 1
    assert terminal.getvalue().count(" | line ") == 1_000
    assert "Logging error" not in capfd.readouterr().err


def spec(name: str, code: str, *, phase: int = 0, stop_seconds: float = 60.0, ready: bool = True) -> ProcessSpec:
    """A process that runs this Python code."""

    async def probe() -> bool:
        return ready

    return ProcessSpec(name, (sys.executable, "-u", "-c", code), probe, phase, stop_seconds)


def supervised(
    tmp_path: Path, specs: list[ProcessSpec], scenario: Callable[[Supervisor], Awaitable[None]]
) -> tuple[str, Supervisor]:
    """Run a scenario, stop everything; returns the log."""
    log = MergedLog(tmp_path / "log", None, 6)

    async def run() -> Supervisor:
        supervisor = Supervisor(specs, log, os.environ, backoff=QUICK)
        try:
            await scenario(supervisor)
        finally:
            await supervisor.stop()
        return supervisor

    supervisor = asyncio.run(run())
    log.close()
    return (tmp_path / "log").read_text(), supervisor


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.service
def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    """kill -9: another process id, one more restart, ready again."""
    seen: list[int] = []

    async def scenario(supervisor: Supervisor) -> None:
        stage = supervisor.stages["a"]
        await supervisor.start([stage], DEADLINE_SECONDS)
        seen.append(stage.info.pid)
        os.kill(stage.info.pid, signal.SIGKILL)
        await until(lambda: stage.info.restarts == 1 and stage.info.state == "up")
        seen.append(stage.info.pid)

    log, supervisor = supervised(tmp_path, [spec("a", "import time; time.sleep(600)")], scenario)
    assert seen[0] != seen[1]
    assert "a: ended with SIGKILL" in log
    assert supervisor.stages["a"].info.state == "stopped"


LISTENER = """
import socket, time
while True:
    try:
        own = socket.socket()
        own.bind(("127.0.0.1", {port}))
        own.listen()
        time.sleep(600)
    except OSError:
        time.sleep(0.01)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who listens")
@pytest.mark.service
def test_a_stranger_on_its_port_is_not_taken_for_a_stage(tmp_path: Path) -> None:
    """Whoever listens where the stage should is not even asked, and is named; once the stage has its port, it is up."""
    asked: list[bool] = []

    async def ready() -> bool:
        asked.append(True)
        return True

    async def scenario(supervisor: Supervisor) -> None:
        stage = supervisor.stages["a"]
        stage.start()
        await until(lambda: f"port {port} by a process of user {os.getuid()}" in stage.info.last_line)
        assert not asked
        assert stage.info.state == "starting"
        squatter.close()
        await until(lambda: stage.info.state == "up")

    with bind_free() as squatter:
        squatter.listen()
        port = squatter.getsockname()[1]
        one = spec("a", LISTENER.format(port=port))._replace(ready=ready, ports=(port,))
        log, _ = supervised(tmp_path, [one], scenario)
    assert "a: taken by others" in log


@pytest.mark.service
def test_what_is_not_ready_any_more_is_not_shown_as_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs, but does not answer: that is said, and so is when it is well again."""
    monkeypatch.setattr("pipeline.local.supervisor.WATCH_SECONDS", 0.02)
    is_well = [True]

    async def ready() -> bool:
        return is_well[0]

    async def scenario(supervisor: Supervisor) -> None:
        stage = supervisor.stages["a"]
        stage.start()
        since = []
        for well, state in ((True, "up"), (False, "unready"), (True, "up")):
            is_well[0] = well
            await until(lambda state=state: stage.info.state == state)
            since.append(stage.info.since)
        assert stage.info.restarts == 0
        assert stage.info.started_at <= since[0] < since[1] < since[2]  # of the state, not of the process

    log, _ = supervised(tmp_path, [spec("a", "import time; time.sleep(600)")._replace(ready=ready)], scenario)
    assert log.index("is not ready any more") < log.index("is ready again")


@pytest.mark.service
def test_a_stage_that_keeps_failing_is_shown_with_its_last_words(tmp_path: Path) -> None:
    """After three ends in a row the state is "failing", with exit code and last line; it is still tried."""
    seen: list[Supervised] = []

    async def scenario(supervisor: Supervisor) -> None:
        stage = supervisor.stages["a"]
        stage.start()
        await until(lambda: stage.info.restarts >= 4 and stage.info.state == "failing")
        assert (stage.info.exit_code, stage.info.last_line) == (70, "no such \\x1b[1m topic")
        seen.append(stage)

    supervised(tmp_path, [spec("a", "print('no such \\x1b[1m topic'); raise SystemExit(70)", ready=False)], scenario)
    assert seen


@pytest.mark.parametrize(
    ("code", "word"),
    [("raise SystemExit('bad key')", "ends at once: bad key"), ("raise SystemExit(2)", "refuses its configuration")],
)
@pytest.mark.service
def test_a_stage_that_cannot_start_ends_the_start(tmp_path: Path, code: str, word: str) -> None:
    """A start that cannot succeed is given up with the stage's last words, not waited for."""

    async def scenario(supervisor: Supervisor) -> None:
        with pytest.raises(AndonError, match=word):
            await supervisor.start(list(supervisor.stages.values()), DEADLINE_SECONDS)

    supervised(tmp_path, [spec("a", code, ready=False)], scenario)


@pytest.mark.service
def test_the_loaders_weak_versions_are_left_out(tmp_path: Path) -> None:
    """They are no error, and not a stage's last words; every other line of the loader is shown."""
    words = "{0}: libc.so.6: {1}version `GLIBC_2.39' not found (required by {0})"
    lines = [words.format("broker", "weak "), words.format("broker", "")]

    async def scenario(supervisor: Supervisor) -> None:
        stage = supervisor.stages["a"]
        stage.start()
        await until(lambda: stage.info.restarts >= 1)

    log, _ = supervised(tmp_path, [spec("a", f"print({chr(10).join(lines)!r})", ready=False)], scenario)
    assert lines[0] not in log
    assert lines[1] in log


@pytest.mark.service
def test_stop_goes_from_the_last_phase_to_the_first(tmp_path: Path) -> None:
    """Stages stop before what they depend on, so that they can still finish what they hold."""
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('leaves'), sys.exit(0)))\n"
        "print('here')\n"
        "time.sleep(600)"
    )
    specs = [spec("broker", code, phase=0), spec("store", code, phase=1), spec("stage", code, phase=2)]

    async def scenario(supervisor: Supervisor) -> None:
        for stage in supervisor.stages.values():
            stage.start()
        await until(lambda: all(stage.info.last_line == "here" for stage in supervisor.stages.values()))

    log, _ = supervised(tmp_path, specs, scenario)
    assert [line.split()[1] for line in log.splitlines() if "leaves" in line] == ["stage", "store", "broker"]


@pytest.mark.service
def test_what_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    """A process that does not stop in its time is killed, and so is what it started itself."""
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid)\n"
        "time.sleep(600)"
    )
    pids: list[int] = []

    async def scenario(supervisor: Supervisor) -> None:
        stage = supervisor.stages["a"]
        stage.start()
        await until(lambda: bool(stage.info.last_line))
        pids.extend((stage.info.pid, int(stage.info.last_line)))

    log, _ = supervised(tmp_path, [spec("a", code, stop_seconds=0.2)], scenario)
    assert "does not stop: killed" in log
    wait_until_gone(pids)


def wait_until_gone(pids: list[int]) -> None:
    """No such process any more, or only its entry in the table."""
    wait_until(f"none of {pids} is left", lambda: not any(map(is_alive, pids)))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.service
def test_a_leashed_process_dies_with_its_parent() -> None:
    """When the parent is killed with -9 the child is gone, too."""
    code = (
        "import subprocess, sys, time\n"
        "from pipeline.local.machine.leash import leash\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], preexec_fn=leash(9))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    assert callable(leash(9))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    wait_until_gone([child])


def test_exit_codes_are_said_for_people() -> None:
    """A signal by its name, a code by its number."""
    assert [describe(0), describe(70), describe(-9)] == ["exit code 0", "exit code 70", "SIGKILL"]
