"""`andon up` and LocalStack: one line a directory, private secrets, restarts, and nothing left behind."""

import asyncio
import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from support.waiting import DEADLINE_SECONDS, until

from pipeline.local import datadir, plan, stack
from pipeline.local.doors import Doors
from pipeline.local.line import Line
from pipeline.local.machine.usage import is_alive
from pipeline.local.mergedlog import MergedLog
from pipeline.local.settings import chosen
from pipeline.local.small_topics import local_topics
from pipeline.local.stack import LocalStack, StackInfo
from pipeline.local.supervisor import ProcessSpec, Supervisor
from pipeline.local.up import UpConfig
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.wire import topics

ANDON = [sys.executable, "-P", "-m", "pipeline"]


def listens(url: str) -> bool:
    """Whether something accepts connections there."""
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_without_confinement_the_archive_comes_as_the_owner(tmp_path: Path) -> None:
    """Where ClickHouse lets in nobody else the line still stores; where it does, as the user who may only insert."""
    secrets = datadir.Secrets(tmp_path)
    ports = {"broker": 1, "clickhouse": 2, "archive-metrics": 3}
    for unconfined, user in (("", "andon_write"), ("this kernel has no Landlock", "andon")):
        at = plan.Place(tmp_path, ports, secrets, (), unconfined=unconfined)
        argv = plan.STAGES["archive"].argv(at)
        assert argv[argv.index("--clickhouse-user") + 1] == user
        file = secrets.clickhouse_password_file if unconfined else secrets.clickhouse_write_password_file
        assert argv[argv.index("--clickhouse-password-file") + 1] == str(file)


def test_an_open_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    """Secrets are not put where others read, and somebody's directory is not closed to them."""
    place = tmp_path / "shared"
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    (place / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"holds other files and is open to other users \(mode 755\)"):
        datadir.prepare(place)
    assert place.stat().st_mode & 0o777 == 0o755


def test_a_new_directory_is_private(tmp_path: Path) -> None:
    """The data directory and all in it belong to its owner alone; the gateway's file holds no plain token."""
    place = datadir.prepare(tmp_path / "line")
    made = datadir.Secrets(place).make('fl"eet\\')
    token = made.gateway_token_file.read_text().strip()
    assert [p for p in (place, *place.rglob("*")) if p.stat().st_mode & 0o077] == []
    tokens = tomllib.loads(made.gateway_tokens_file.read_text())["tokens"]
    assert tokens == {hashlib.sha256(token.encode()).hexdigest(): 'fl"eet\\'}
    datadir.Secrets(place).make("another")
    assert made.gateway_token_file.read_text().strip() == token


def test_the_directory_is_locked_for_one_line(tmp_path: Path) -> None:
    """The second one is told who holds it; what the holder handed on keeps it held."""
    place = datadir.prepare(tmp_path / "line")
    assert not datadir.is_locked(place)
    held = datadir.lock(place)
    handed_on = os.dup(held)
    with pytest.raises(AndonError, match=f"already runs in .*process {os.getpid()}"):
        datadir.lock(place)
    os.close(held)
    assert datadir.is_locked(place)
    os.close(handed_on)
    assert not datadir.is_locked(place)


def test_ports_are_free_distinct_and_remembered(tmp_path: Path) -> None:
    """The next start finds the same ports, unless somebody took one meanwhile."""
    names = ["broker", "clickhouse", "collect"]
    with Doors(tmp_path, names, {}) as doors:
        first = doors.ports
    assert len(set(first.values())) == 3
    assert Doors(tmp_path, names, {}).ports == first
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first["collect"]))
        taken.listen()
        again = Doors(tmp_path, names, {}).ports
        assert again["collect"] != first["collect"]
        assert again["broker"] == first["broker"]
        with pytest.raises(ConfigError, match=f"up.collect_port = {first['collect']}: taken by another process"):
            Doors(tmp_path, names, {"collect": first["collect"]})


def test_stages_bring_what_they_need() -> None:
    """The archive brings ClickHouse, everything brings the broker; an unknown name is refused with those known."""
    assert [stage.name for stage in chosen("archive")] == ["broker", "clickhouse", "archive"]
    assert [stage.name for stage in chosen("")] == ["broker"]
    with pytest.raises(
        ConfigError,
        match=r"up.stages = 'combine,corelate': no stage 'corelate'; known: broker, .*; did you mean correlate\?",
    ):
        chosen("combine,corelate")


def test_local_topics_are_small() -> None:
    """The embedded broker keeps little; compacted topics keep their settings."""
    local = {topic.name: topic for topic in local_topics(256)}
    events = local[topics.EVENTS.name]
    assert int(events.config["retention.bytes"]) * events.partitions == 256 << 20
    assert local[topics.HALTS.name] == topics.HALTS
    assert set(local) == {topic.name for topic in topics.ALL}


@pytest.mark.service
def test_a_line_whose_schema_is_refused_says_how_to_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice needs ClickHouse, which stops with the line: the command that runs it alone, and where it is then."""
    secrets = datadir.Secrets(tmp_path)
    at = plan.Place(tmp_path, {"broker": 1, "clickhouse": 8124}, secrets, ())
    log = MergedLog(tmp_path / "log", io.StringIO(), 8)

    async def ready() -> bool:
        return True

    async def start() -> None:
        spec = ProcessSpec("clickhouse", ["sleep", "60"], ready, plan.STORE_PHASE, 0.0)
        line = Line("acme", 256, at, Supervisor([spec], log, os.environ))
        try:
            await line._start_store()
        finally:
            await line.supervisor.stop()

    monkeypatch.setattr(plan, "migrate", lambda _: ["sh", "-c", "echo events is missing; exit 1"])
    with pytest.raises(AndonError, match=r"^migrate failed: events is missing; to repair") as refused:
        asyncio.run(start())
    log.close()
    password = f"{tmp_path}/secrets/clickhouse-password"
    alone = f"`andon clickhouse --data-dir {tmp_path}/clickhouse --port 8124 --password-file {password}`"
    there = f"`--clickhouse-url http://127.0.0.1:8124 --clickhouse-password-file {password}`"
    assert str(refused.value).endswith(f"{alone}, and `andon migrate` with {there}")


def can_be_taken(url: str) -> bool:
    """Whether another process could listen there; it takes the place for a moment."""
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            squatter.bind(("127.0.0.1", int(url.rpartition(":")[2])))
            squatter.listen()
        except OSError:
            return False
        return True


def test_ports_of_secrets_are_never_let_go(tmp_path: Path) -> None:
    """They are listened on before their server runs, by a socket that it is given; of the others only the numbers are
    kept."""
    with Doors(tmp_path, ["broker", "collect"], {}, kept=["collect"]) as doors:
        urls = {name: f"http://127.0.0.1:{port}" for name, port in doors.ports.items()}
        assert {name: can_be_taken(url) for name, url in urls.items()} == {"broker": True, "collect": False}
        assert listens(urls["collect"])
        with socket.socket(fileno=os.dup(doors.descriptors["collect"])) as given:
            assert given.getsockname()[1] == doors.ports["collect"]
    assert not any(map(listens, urls.values()))


def test_passwords_are_of_one_start(tmp_path: Path) -> None:
    """Who heard one knows nothing after the next start; what others keep or records bear stays."""
    place = datadir.prepare(tmp_path / "line")

    def read() -> dict[str, str]:
        datadir.Secrets(place).make("acme")
        return {file.name: file.read_text() for file in (place / "secrets").iterdir()}

    first, second = read(), read()
    assert first.keys() == second.keys()
    stayed = {name for name in first if first[name] == second[name]}
    assert stayed == {"gateway-token", "gateway-tokens.toml", "kafka-password", "partials-secret"}


@pytest.fixture(scope="module")
def line() -> Iterator[LocalStack]:
    """A line of broker and gateway, for all tests of this file that leave it running."""
    with LocalStack(stages=("collect",)) as running:
        yield running


def up(data_dir: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """`andon up` that is expected to end by itself."""
    argv = [*ANDON, "up", "--data-dir", str(data_dir), *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)


@pytest.mark.service
def test_a_second_line_is_refused(line: LocalStack) -> None:
    """One clear word, exit code 1, and the first line does not notice."""
    second = up(line.data_dir)
    assert second.returncode == 1
    assert f"andon: a line already runs in {line.data_dir}" in second.stderr
    assert line.refresh().pids == line.info.pids


@pytest.mark.service
def test_a_killed_stage_comes_back_on_the_same_port(line: LocalStack) -> None:
    """kill -9 of the gateway: a new process answers, and stack.json tells its process id. Nobody else got the port
    in between, and with it the tokens of those who send."""
    old = line.refresh().pids["collect"]
    taken: list[bool] = []
    os.kill(old, signal.SIGKILL)

    def restarted() -> bool:
        taken.append(can_be_taken(line.info.gateway_url))
        return line.refresh().stages["collect"].restarts == 1

    until("it is restarted", restarted)
    until("it is ready again", lambda: line.refresh().stages["collect"].state == "up")
    assert not any(taken)
    assert line.info.pids["collect"] != old
    assert listens(line.info.gateway_url)
    assert "collect: ended with SIGKILL" in Path(line.info.log_file).read_text()


@pytest.mark.service
def test_status_of_the_line(line: LocalStack) -> None:
    """One table of the running line, also with the address that it tells in the environment; exit code 1 and a clear
    word where nothing runs."""
    for settings in ({}, {"ANDON_KAFKA_BOOTSTRAP_SERVERS": line.info.bootstrap_servers}):
        shown = subprocess.run(
            [*ANDON, "status", "--once", "--interval-seconds", "0.1", "--data-dir", str(line.data_dir)],
            capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True, env=os.environ | settings,
        ).stdout  # fmt: skip
        assert "collect" in shown
        assert line.info.bootstrap_servers in shown
    nothing = subprocess.run(
        [*ANDON, "status", "--once", "--data-dir", str(line.data_dir / "none")],
        capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False,
    )  # fmt: skip
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "nothing runs in" in nothing.stderr


def everything(info: StackInfo) -> tuple[list[int], list[str]]:
    """Process ids and addresses of a line."""
    return [info.supervisor_pid, *info.pids.values()], [info.bootstrap_servers, info.gateway_url]


@pytest.mark.service
def test_a_line_that_is_left_by_an_exception_leaves_nothing() -> None:
    """No process, no port, no directory."""
    seen: list[LocalStack] = []

    def fail(running: LocalStack) -> None:
        seen.append(running)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), LocalStack(stages=("collect",)) as entered:
        fail(entered)
    (left,) = seen
    pids, addresses = everything(left.info)
    assert [pid for pid in pids if is_alive(pid)] == []
    assert [url for url in addresses if listens(url)] == []
    assert not left.data_dir.exists()


@pytest.mark.service
def test_a_killed_supervisor_takes_its_stages_along(tmp_path: Path) -> None:
    """kill -9 of `andon up`: everything ends, and the directory can be used again at once."""
    with LocalStack(tmp_path / "line", stages=("collect",)) as running:
        pids, addresses = everything(running.info)
        os.kill(running.info.supervisor_pid, signal.SIGKILL)
        until("nothing is left", lambda: not any(is_alive(pid) for pid in pids))
        until("nobody holds it", lambda: stack.running(running.data_dir) is None)  # threads end after their process
        until("nothing listens", lambda: not any(map(listens, addresses)))
    with LocalStack(tmp_path / "line", stages=("collect",)) as again:
        assert everything(again.info)[1] == addresses


@pytest.mark.service
def test_what_the_broker_acknowledged_survives_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop, start: the message is still there, at the same address; and what the environment says to another line does
    not reach this one."""
    monkeypatch.setenv("ANDON_UP_FLEET", "elsewhere")
    with LocalStack(tmp_path / "line", stages=()) as running:
        assert running.info.fleet == UpConfig().fleet
        servers = running.info.bootstrap_servers
        producer = Producer({"bootstrap.servers": servers, "log_level": 0})
        producer.produce(topics.HALTS.name, b"{}", key=b"kept")
        assert producer.flush(DEADLINE_SECONDS) == 0
    assert not listens(servers)
    with LocalStack(tmp_path / "line", stages=()) as again:
        assert again.info.bootstrap_servers == servers
        consumer = Consumer({"bootstrap.servers": servers, "group.id": "test", "log_level": 0})
        consumer.assign([TopicPartition(topics.HALTS.name, 0, 0)])
        message = consumer.poll(DEADLINE_SECONDS)
        consumer.close()
    assert message is not None
    assert message.key() == b"kept"


@pytest.mark.service
def test_a_line_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    """A fixed port that is taken: a ConfigError with key and value, exit code 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = up(tmp_path / "line", "--stages", "", "--broker-port", str(port))
        with (
            pytest.raises(AndonError, match=f"up.broker_port = {port}: taken by another process"),
            LocalStack(tmp_path / "line", stages=(), broker_port=port),
        ):
            pass
    assert refused.returncode == 2
    assert not datadir.is_locked(tmp_path / "line")


@pytest.mark.service
def test_ctrl_c_while_starting_leaves_nothing(tmp_path: Path) -> None:
    """An early SIGINT stops what was begun and exits cleanly."""
    with subprocess.Popen([*ANDON, "up", "--data-dir", str(tmp_path / "line"), "--stages", "collect"]) as starting:
        until("it begins", lambda: datadir.is_locked(tmp_path / "line"))
        until("the broker begins", lambda: "broker" in _log(tmp_path / "line"))
        starting.send_signal(signal.SIGINT)
        assert starting.wait(DEADLINE_SECONDS) == 0
    assert not datadir.is_locked(tmp_path / "line")  # held by every process of the line
    assert not (tmp_path / "line" / "stack.json").exists()


def _log(place: Path) -> str:
    try:
        return (place / "logs" / "andon.log").read_text()
    except FileNotFoundError:
        return ""
