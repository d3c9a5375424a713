"""The whole line with clients that nobody here wrote: kcat, curl, clickhouse-connect. Imports nothing of the code."""

import base64
import json
import os
import signal
import socket
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from support.outside import (
    DEADLINE_SECONDS,
    Line,
    encode,
    event,
    incident,
    is_running,
    needs,
    now_ms,
    wait_for,
    without_signature,
)

pytestmark = pytest.mark.service

KEY = "{}/crowdstrike/content/291"


def test_settings_of_another_cluster_do_not_reach_the_line(line: Line) -> None:
    """With some in the environment and in a file, every stage is ready, none was started twice, and ClickHouse has
    Andon's tables where they belong."""
    stages = line.at_first["stages"]
    assert {name: (stage["state"], stage["restarts"]) for name, stage in stages.items()} == dict.fromkeys(
        ("broker", "clickhouse", "combine", "correlate", "collect", "archive", "notify"), ("up", 0)
    )
    assert line.curl_query("SELECT count() FROM andon.events_once WHERE fleet = 'nobody'") == "0"
    assert line.curl_query("SELECT count() FROM system.databases WHERE name = 'production'") == "0"


def test_events_by_kcat_become_a_signed_halt(line: Line) -> None:
    """The guilty update is halted, the innocent one is not, and the signature holds over the record as it stands."""
    needs("kcat")
    line.kcat_send("fleet.events", incident("by-kcat", "crowdstrike", "acme-os"))
    wait_for("a halt", lambda: line.halts("by-kcat"))
    assert set(line.halts("by-kcat")) == {KEY.format("by-kcat")}
    payload = next(m["payload"] for m in line.kcat_read("fleet.halts") if m["key"] == KEY.format("by-kcat"))
    halt = json.loads(payload)
    public = load_pem_public_key((line.data_dir / "correlate" / "keys" / f"{halt['kid']}.pub.pem").read_bytes())
    assert isinstance(public, Ed25519PublicKey)
    public.verify(base64.b64decode(halt["sig"]), without_signature(payload))
    assert halt["action"] == "halt"
    assert halt["issued_at"] <= now_ms() < halt["expires_at"]
    assert halt["evidence"]["log10_evidence"] >= 6
    assert halt["evidence"]["explanation"]["module"] in ("csagent.sys", "")


def test_events_by_curl_become_a_halt_and_rows(line: Line) -> None:
    """Through the gateway, everything accepted is acknowledged, halts, and lands in ClickHouse exactly once."""
    needs("curl", "kcat")
    fleet = line.info["fleet"]
    events = incident(fleet, "crowdstrike", "acme-os", seed=8, name="web")
    status, answer = line.curl_send(b"\n".join(events))
    assert (status, answer) == (202, {"accepted": len(events), "rejected": []})
    wait_for("a halt", lambda: line.halts(fleet))
    assert set(line.halts(fleet)) == {KEY.format(fleet)}
    mine = "startsWith(host, 'web-')"  # other tests use the gateway's fleet too
    count = f"SELECT count() FROM events_once WHERE fleet = '{fleet}' AND {mine}"
    wait_for("all events in ClickHouse", lambda: line.curl_query(count) == str(len(events)))
    client = line.clickhouse()
    try:
        crashed = (
            f"SELECT uniqExact(host) FROM events_once WHERE fleet = {{fleet:String}} AND kind = 'crash' AND {mine}"
        )
        expected = len({json.loads(e)["host"] for e in events if b'"kind":"crash"' in e})
        assert client.query(crashed, parameters={"fleet": fleet}).result_rows == [(expected,)]
        halts = "SELECT DISTINCT vendor, product, version FROM halts WHERE fleet = {fleet:String}"
        rows = wait_for("the halt in ClickHouse", lambda: client.query(halts, parameters={"fleet": fleet}).result_rows)
        assert rows == [("crowdstrike", "content", "291")]
    finally:
        client.close()


@pytest.mark.parametrize("stage", ["combine", "correlate", "collect", "archive", "clickhouse"])
def test_a_killed_stage_comes_back_and_nothing_is_lost(line: Line, stage: str) -> None:
    """kill -9 in mid-stream: restarted, and every event is counted once by the detector and once in ClickHouse."""
    needs("kcat")
    fleet, batches, size = f"killed-{stage}", 10, 500
    old = line.info["stages"][stage]["pid"]
    for batch in range(batches):
        ts = now_ms()
        line.kcat_send("fleet.events", [encode(event(fleet, f"h-{batch}-{n}", ts)) for n in range(size)])
        if batch == batches // 2:
            os.kill(old, signal.SIGKILL)
    wait_for("restarted", lambda: line.info["stages"][stage]["pid"] not in (0, old))
    wait_for("up again", lambda: line.info["stages"][stage]["state"] == "up")
    wait_for("all folded", lambda: line.folded(fleet) >= batches * size)
    count = f"SELECT count() FROM events WHERE fleet = '{fleet}'"
    wait_for("all in ClickHouse", lambda: int(line.curl_query(count)) >= batches * size)
    assert line.folded(fleet) == batches * size
    assert int(line.curl_query(count)) == batches * size
    assert line.halts(fleet) == {}


def test_hangup_ends_a_stage_in_order(line: Line) -> None:
    """SIGHUP: each stage finishes what it holds and exits with 0, to be started again; the gateway reads its tokens."""
    stages = ["combine", "correlate", "archive", "clickhouse"]
    before = line.info["stages"]
    for stage in [*stages, "collect"]:
        os.kill(before[stage]["pid"], signal.SIGHUP)
    for stage in stages:
        wait_for("restarted", lambda at=stage: line.info["stages"][at]["pid"] not in (0, before[at]["pid"]))
        assert line.info["stages"][stage]["exit_code"] == 0, stage
    for stage in stages:
        wait_for("up again", lambda at=stage: line.info["stages"][at]["state"] == "up")
    assert line.info["stages"]["collect"]["pid"] == before["collect"]["pid"]
    wait_for("tokens are read", lambda: "tokens read again" in line.log.read_text("utf-8"))


def test_a_clean_stop_leaves_no_process_and_no_port(tmp_path: Path, schema: Path) -> None:
    """SIGTERM: exit code 0; every process, also those that stages started, and every port is gone. Before that its
    broker is killed, which may lose what was just sent, and what is sent after it counts as ever."""
    needs("kcat")
    line = Line(tmp_path / "line", schema=schema)
    line.kcat_send("fleet.events", [encode(event("before", "h", now_ms()))])
    wait_for("folded", lambda: line.folded("before") == 1)
    combiner = line.info["stages"]["combine"]["pid"]
    os.kill(line.info["stages"]["broker"]["pid"], signal.SIGKILL)
    wait_for("the combiner begins anew", lambda: line.info["stages"]["combine"]["pid"] not in (0, combiner))
    wait_for("the broker is up", lambda: line.info["stages"]["broker"]["state"] == "up")
    for number in range(20):
        line.kcat_send("fleet.events", [encode(event("after", f"h-{number}", now_ms()))])
    wait_for("folded", lambda: line.folded("after") == 20)
    info = line.info
    pids = [info["supervisor_pid"], *(stage["pid"] for stage in info["stages"].values())]
    pids += [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if session(pid) in pids]
    ports = json.loads((tmp_path / "line" / "ports.json").read_text())
    assert line.stop() == 0
    wait_for("all processes gone", lambda: not any(is_running(pid) for pid in pids), DEADLINE_SECONDS)
    assert [name for name, port in ports.items() if accepts(port)] == []
    assert not (tmp_path / "line" / "stack.json").exists()


def session(pid: int) -> int:
    """The session of a process; each stage leads one."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def accepts(port: int) -> bool:
    """Whether anything listens there on loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
