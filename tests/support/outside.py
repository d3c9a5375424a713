"""Andon from outside: its command line, kcat, curl and the official ClickHouse client. Imports nothing of the code."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import clickhouse_connect
import psutil
import pytest

ANDON = str(Path(sys.executable).with_name("andon"))
DEADLINE_SECONDS = 120.0  # a busy machine of two cores; met in a few seconds on an idle one
POLL_SECONDS = 0.1
START_SECONDS = 180.0

T = TypeVar("T")


def needs(*tools: str) -> None:
    """Skip the test when a tool is missing (with CI=true that fails it)."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")


def wait_for(what: str, look: Callable[[], T | None], seconds: float = DEADLINE_SECONDS) -> T:
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(POLL_SECONDS)  # between two looks


class Line:
    """`andon up` in a process of its own; where everything is, it tells in stack.json, `at_first` once it was ready.
    With a `schema`, the directory of an engine that was migrated before, it need not be migrated again."""

    def __init__(
        self, data_dir: Path, *options: str, environ: Mapping[str, str] | None = None, schema: Path | None = None
    ) -> None:
        self.data_dir = data_dir
        self.output = data_dir.with_name(data_dir.name + ".out")
        self.log = data_dir / "logs" / "andon.log"
        if schema is not None:
            data_dir.mkdir(mode=0o700)
            shutil.copytree(schema, data_dir / "clickhouse", symlinks=True)
        with self.output.open("wb") as output:
            argv = [ANDON, "up", "--data-dir", str(data_dir), *options]
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environ or {})},
            )
        try:
            wait_for("the line is ready", lambda: self._ready() or self._ended(), START_SECONDS)
        except BaseException:
            self.stop()
            raise
        self.at_first = self.info

    def _ready(self) -> bool:
        return (self.data_dir / "stack.json").exists()

    def _ended(self) -> bool:
        assert self.process.poll() is None, self.output.read_text()[-4000:]
        return False

    @property
    def info(self) -> dict[str, Any]:
        """stack.json as it is now."""
        found: dict[str, Any] = json.loads((self.data_dir / "stack.json").read_text())
        return found

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(DEADLINE_SECONDS)

    def andon(self, command: str, *options: str) -> str:
        """What `andon COMMAND` prints about this line."""
        argv = [ANDON, command, "--data-dir", str(self.data_dir), *options]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, timeout=DEADLINE_SECONDS)
        return done.stdout

    def _login(self) -> list[str]:
        info = self.info
        return ["-F", info["kafka_client_file"]] if info["kafka_client_file"] else ["-b", info["bootstrap_servers"]]

    def kcat_send(self, topic: str, lines: list[bytes], *options: str) -> None:
        """One message a line, with kcat."""
        argv = ["kcat", "-P", *self._login(), "-t", topic, *options]
        subprocess.run(argv, input=b"\n".join(lines), check=True, timeout=DEADLINE_SECONDS)

    def kcat_read(self, topic: str) -> list[dict[str, Any]]:
        """Every message of a topic, with kcat: dictionaries with key, payload, partition, offset."""
        argv = ["kcat", "-C", *self._login(), "-t", topic, "-o", "beginning", "-e", "-q", "-J"]
        read = subprocess.run(argv, stdout=subprocess.PIPE, check=True, timeout=DEADLINE_SECONDS)
        return [json.loads(line, strict=False) for line in read.stdout.decode("utf-8", "replace").splitlines()]

    def latest(self, topic: str) -> dict[str, dict[str, Any]]:
        """The newest record of each key of a topic of JSON records."""
        return {message["key"]: json.loads(message["payload"]) for message in self.kcat_read(topic)}

    def halts(self, fleet: str) -> dict[str, dict[str, Any]]:
        """The halts of a fleet."""
        return {key: halt for key, halt in self.latest("fleet.halts").items() if halt["fleet"] == fleet}

    def folded(self, fleet: str) -> int:
        """How many events of a fleet the detector has taken in, by its heartbeat."""
        beat: int = self.latest("fleet.verdicts").get(f"{fleet}/-/heartbeat", {}).get("events", 0)
        return beat

    def curl_send(self, body: bytes, *options: str, token: str | None = None) -> tuple[int, dict[str, Any]]:
        """POST to the gateway with curl; HTTP status and answer."""
        token = token or Path(self.info["gateway_token_file"]).read_text().strip()
        argv = [
            "curl", "--silent", "--show-error", "--max-time", "30", "--data-binary", "@-",
            "--write-out", "\n%{http_code}",
            "-H", "Content-Type: application/x-ndjson", "-H", f"Authorization: Bearer {token}",
            *options, self.info["gateway_url"] + "/v1/events",
        ]  # fmt: skip
        answer = subprocess.run(argv, input=body, stdout=subprocess.PIPE, check=True, timeout=DEADLINE_SECONDS)
        text, _, status = answer.stdout.decode().rpartition("\n")
        return int(status), json.loads(text)

    def clickhouse(self) -> Any:
        """The official client."""
        host, port = self.info["clickhouse_url"].removeprefix("http://").split(":")
        password = Path(self.info["clickhouse_reader_password_file"]).read_text().strip()
        return clickhouse_connect.get_client(
            host=host, port=int(port), username=self.info["clickhouse_reader"], password=password, database="andon"
        )

    def curl_query(self, query: str) -> str:
        """What ClickHouse answers to curl."""
        password = Path(self.info["clickhouse_reader_password_file"]).read_text().strip()
        user = f"{self.info['clickhouse_reader']}:{password}"
        argv = ["curl", "-sS", "--fail", "--max-time", "30", "-u", user, "--data-binary", "@-"]
        url = self.info["clickhouse_url"] + "/?database=andon"
        done = subprocess.run([*argv, url], input=query, text=True, stdout=subprocess.PIPE, check=True)
        return done.stdout.strip()


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def encode(event: dict[str, Any]) -> bytes:
    """One line of NDJSON."""
    return json.dumps(event, separators=(",", ":")).encode()


def event(fleet: str, host: str, ts: int, kind: str = "heartbeat", **more: Any) -> dict[str, Any]:
    """An event in the wire format, written down here by hand."""
    base = {"v": 1, "id": f"{fleet}-{host}-{ts}-{kind}", "kind": kind, "fleet": fleet, "host": host, "ts": ts}
    place = {"ring": "broad", "os": "windows-10.0.22631", "model": "latitude-7440", "updates": []}
    return base | place | more


def update(vendor: str, installed_at: int, version: str = "291") -> dict[str, Any]:
    """An update as a host lists it."""
    return {"vendor": vendor, "product": "content", "version": version, "installed_at": installed_at}


def incident(fleet: str, guilty: str, innocent: str, hosts: int = 2_000, seed: int = 7, name: str = "h") -> list[bytes]:
    """Ten minutes of a fleet: a fifth of the hosts got `guilty` a quarter of an hour ago and every sixth of those
    crashes, half got `innocent`, and a few crash of something else. In order of event time."""
    chance, now = random.Random(seed), now_ms()
    rows: list[tuple[int, bytes]] = []
    for number in range(hosts):
        host = f"{name}-{number:05d}"
        exposed = number % 5 == 0
        updates = [update(guilty, now - 900_000)] if exposed else []
        updates += [update(innocent, now - 1_200_000)] if chance.random() < 0.5 else []
        ts = now - chance.randrange(300_000, 600_000)
        rows.append((ts, encode(event(fleet, host, ts, updates=updates))))
        if (exposed and number % 6 == 0) or number % 401 == 0:
            crash = {"code": "0x50", "module": "csagent.sys"} if exposed else {"code": "0x9f", "module": "usb.sys"}
            ts = now - chance.randrange(1_000, 300_000)
            rows.append((ts, encode(event(fleet, host, ts, "crash", signature=crash, updates=updates))))
    return [line for _, line in sorted(rows)]


def without_signature(payload: str) -> bytes:
    """The signed bytes of a halt: the record as it stands, without its "sig" member."""
    return re.sub(r',"sig":"[^"]*"|"sig":"[^"]*",', "", payload, count=1).encode()


def is_running(pid: int) -> bool:
    """Whether there is such a process; a zombie is none."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
