"""The local ClickHouse endpoint, from outside: clickhouse-connect and curl against the real engine."""

import asyncio
import gzip
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
import pytest
from aiohttp import web
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from support.clickhouse import LocalClickHouse
from support.engines import clickhouse_in
from support.waiting import DEADLINE_SECONDS, until

from pipeline.local.clickhouse import serving
from pipeline.local.clickhouse.config import EngineConfig
from pipeline.local.clickhouse.places import READERS
from pipeline.runtime.errors import ConfigError

pytestmark = pytest.mark.service

HOSTILE = "'; DROP TABLE d.t; -- \\ \n\n\t\0 {x:String} %s \u202e\U0001f525 \x1b[2J"


@pytest.fixture(scope="module")
def line(schema: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClickHouse]:
    """The endpoint, with a database of the tests' own."""
    with clickhouse_in(tmp_path_factory.mktemp("endpoint"), schema) as running:
        client = running.client()
        client.command("CREATE DATABASE d ENGINE = Atomic")
        client.command(
            "CREATE TABLE d.t (a UInt64, s String, l Array(String)) ENGINE = MergeTree ORDER BY a "
            "SETTINGS non_replicated_deduplication_window = 100"
        )
        yield running


@pytest.fixture
def client(line: LocalClickHouse) -> Client:
    """A client, and an empty table."""
    connected = line.client()
    connected.command("TRUNCATE TABLE d.t")
    return connected


def connect(line: LocalClickHouse, user: str, password: str, **more: object) -> Client:
    """A client as its users make one, sessions and compression included."""
    port = int(line.server.url.rpartition(":")[2])
    return clickhouse_connect.get_client(host="127.0.0.1", port=port, username=user, password=password, **more)


def curl(line: LocalClickHouse, *arguments: str, data: bytes = b"") -> tuple[str, str]:
    """Status and body."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    argv = ["curl", "-sS", "-w", "\n%{http_code}", "--max-time", "20", *arguments]
    done = subprocess.run(argv, input=data, capture_output=True, check=False)
    body, _, status = done.stdout.decode("utf-8", "replace").rpartition("\n")
    return status, body


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_clickhouse_connect_reads_what_it_wrote(line: LocalClickHouse, client: Client, compress: str | bool) -> None:
    """Rows, Arrow and streams in every compression, empty lines and SQL in the text included."""
    ours = connect(line, "andon", line.password, compress=compress)
    ours.insert("d.t", [[1, HOSTILE, ["a", HOSTILE]], [2, "\n\nDROP TABLE d.t\n\n", []]], ["a", "s", "l"])
    ours.insert_arrow("d.t", pa.table({"a": [3], "s": ["x\n\ny"], "l": [["z"]]}))
    rows = ours.query("SELECT a, s, l FROM d.t ORDER BY a").result_rows
    assert rows == [(1, HOSTILE, ["a", HOSTILE]), (2, "\n\nDROP TABLE d.t\n\n", []), (3, "x\n\ny", ["z"])]
    with ours.query_row_block_stream("SELECT number FROM numbers(300000)") as blocks:
        assert sum(len(block) for block in blocks) == 300_000
    assert ours.query_arrow("SELECT s FROM d.t WHERE a = 1")["s"].to_pylist() == [HOSTILE]


def test_parameters_are_data(client: Client) -> None:
    """Hostile text in a parameter comes back as it was, in a GET, a POST and a form."""
    assert client.query("SELECT {x:String}", parameters={"x": HOSTILE}).first_row == (HOSTILE,)
    long = HOSTILE * 2000
    assert client.query("SELECT {x:String}", parameters={"x": long}).first_row == (long,)


def test_a_repeated_token_changes_nothing(client: Client) -> None:
    """insert_deduplication_token reaches the engine, and only for its own request."""
    table = pa.table({"a": [1, 2], "s": ["x", "y"], "l": [[], []]})
    for token in ("one", "one", "two"):
        client.insert_arrow("d.t", table, settings={"insert_deduplication_token": token})
    assert client.command("SELECT count() FROM d.t") == 4
    assert client.command("SELECT getSetting('insert_deduplication_token')") == ""


def test_sessions_keep_tables_and_not_settings(line: LocalClickHouse) -> None:
    """A session's temporary table stays; a setting that came with one request does not."""
    ours = connect(line, "andon", line.password, session_id="test")
    ours.command("CREATE TEMPORARY TABLE mine (a UInt8)")
    ours.command("INSERT INTO mine VALUES (7)", settings={"max_threads": 1})
    assert ours.query("SELECT a FROM mine").first_row == (7,)
    assert ours.query("SELECT changed FROM system.settings WHERE name = 'max_threads'").first_row == (0,)


def test_wrong_passwords_are_error_516(line: LocalClickHouse) -> None:
    """In headers, basic auth and URL, with ClickHouse's code and words; /ping needs none."""
    url = line.server.url + "/"
    good = ("-H", "X-ClickHouse-User: andon", "-H", f"X-ClickHouse-Key: {line.password}")
    assert curl(line, *good, url, "-d", "SELECT 1") == ("200", "1\n")
    assert curl(line, "-u", f"andon:{line.password}", url, "-d", "SELECT 1") == ("200", "1\n")
    assert curl(line, f"{url}?user=andon&password={line.password}", "-d", "SELECT 1") == ("200", "1\n")
    for bad in (("-u", "andon:no"), ("-u", "default:"), ("-H", "X-ClickHouse-User: andon"), ()):
        status, body = curl(line, *bad, "-i", url, "-d", "SELECT 1")
        assert status == "403"
        assert "X-ClickHouse-Exception-Code: 516" in body
        assert "Code: 516. DB::Exception: " in body
        assert "(AUTHENTICATION_FAILED)" in body
    assert curl(line, url + "ping") == ("200", "Ok.\n")
    with pytest.raises(DatabaseError) as refused:
        connect(line, "andon", "no")
    assert refused.value.code == 516


def test_curl_inserts_and_reads(line: LocalClickHouse, client: Client) -> None:
    """INSERT in the URL with a compressed body, JSON out; an error has its code, a GET changes nothing."""
    url = line.server.url + "/"
    good = ("-u", f"andon:{line.password}")
    rows = gzip.compress(b'{"a":1,"s":"x;\\n"}\n\n{"a":2,"s":"\xf0\x9f\x94\xa5"}\n')
    insert = url + "?query=INSERT+INTO+d.t+FORMAT+JSONEachRow"
    posted = curl(line, *good, "-H", "Content-Encoding: gzip", "--data-binary", "@-", insert, data=rows)
    assert posted == ("200", "")
    status, body = curl(line, *good, url + "?default_format=JSON", "-d", "SELECT a, s FROM d.t ORDER BY a")
    assert status == "200"
    assert json.loads(body)["data"] == [{"a": 1, "s": "x;\n"}, {"a": 2, "s": "\U0001f525"}]
    status, body = curl(line, *good, "-i", url, "-d", "SELECT nothing")
    assert status == "404"
    assert "X-ClickHouse-Exception-Code: 47" in body
    status, body = curl(line, *good, url + "?query=TRUNCATE+TABLE+d.t")
    assert "(READONLY)" in body
    assert client.command("SELECT count() FROM d.t") == 2


def test_the_reader_reads_only(line: LocalClickHouse, client: Client) -> None:
    """andon_read may SELECT and set limits; it may not write, lift that, or reach files and addresses."""
    client.insert("d.t", [[1, "x", []]], ["a", "s", "l"])
    reader = connect(line, "andon_read", line.read_password)
    assert reader.query("SELECT count() FROM d.t", settings={"max_threads": 1}).first_row == (1,)
    for sql in (
        "INSERT INTO d.t VALUES (2, '', [])",
        "TRUNCATE TABLE d.t",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT 1 INTO OUTFILE '/tmp/andon-test'",
        "SELECT 1; TRUNCATE TABLE d.t",
    ):
        with pytest.raises(DatabaseError):
            reader.command(sql)
    with pytest.raises(DatabaseError):
        reader.command("TRUNCATE TABLE d.t", settings={"readonly": 0})
    assert client.command("SELECT count() FROM d.t") == 1


def test_limits(line: LocalClickHouse, client: Client) -> None:
    """max_execution_time ends a query with code 159; a body that unpacks past the limit is refused."""
    with pytest.raises(DatabaseError) as slow:
        client.query("SELECT sum(sipHash64(number)) FROM numbers(100000000000)", settings={"max_execution_time": 1})
    assert slow.value.code == 159
    bomb = gzip.compress(bytes(300 * 1024 * 1024), 1)
    good = ("-u", f"andon:{line.password}", "-H", "Content-Encoding: gzip", "--data-binary", "@-")
    status, body = curl(line, *good, line.server.url + "/", data=bomb)
    assert (status, "307" in body) == ("413", True)


def test_an_error_in_mid_stream_is_seen(client: Client) -> None:
    """Rows that went out before the error do not pass for the whole answer."""
    sql = "SELECT number, throwIf(number = 3000000) FROM numbers(10000000)"
    with pytest.raises(StreamFailureError), client.query_row_block_stream(sql) as blocks:
        for _ in blocks:
            pass


def _succeeds(client: Client, sql: str) -> bool:
    try:
        client.command(sql)
    except DatabaseError as error:
        if "too few" not in str(error):
            raise
        return False
    return True


def test_long_queries_do_not_hold_up_the_writer(own_clickhouse: LocalClickHouse) -> None:
    """With every place for readers taken, and more of them waiting, the writer connects and inserts: they go on for
    minutes, unless the endpoint is stopped."""
    sql = "SELECT sum(sleepEachRow(1)) FROM numbers(300) SETTINGS max_block_size = 1, max_execution_time = 0"
    own = own_clickhouse
    owner = own.client()
    owner.command("CREATE TABLE seen (running UInt64) ENGINE = MergeTree ORDER BY running")
    failures: list[DatabaseError] = []

    def read(reader: Client) -> None:
        try:
            reader.query(sql)
        except DatabaseError as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=(own.client(),)) for _ in range(READERS + 1)]
    for thread in threads:
        thread.start()
    running = f"FROM system.processes WHERE query LIKE '{sql}%'"
    look = f"INSERT INTO seen SELECT throwIf(count() < {READERS}, 'too few') {running}"  # not in the readers' queue
    until("every place is taken", lambda: _succeeds(owner, look))
    writer = connect(own, "andon_write", own.write_password, database="andon")
    writer.command("INSERT INTO halt_acks (subscriber) VALUES ('s')")
    assert all(thread.is_alive() for thread in threads)
    assert own.stage.stop() == 0
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert len(failures) == READERS + 1


def test_who_goes_away_in_mid_answer_is_no_error(own_clickhouse: LocalClickHouse, tmp_path: Path) -> None:
    """A client that is killed while it reads leaves no traceback in the log, and the next one is served."""
    own = own_clickhouse
    address = urlsplit(own.server.url)
    head = f"X-ClickHouse-User: andon\r\nX-ClickHouse-Key: {own.password}\r\n\r\n"
    ask = "GET /?query=SELECT+number+FROM+numbers(20000000) HTTP/1.1\r\nHost: h\r\n" + head
    with socket.create_connection((address.hostname or "", address.port or 0)) as going:
        going.sendall(ask.encode())
        assert going.recv(100).startswith(b"HTTP/1.1 200")
    assert own.client().command("SELECT 1") == 1
    assert own.stage.stop() == 0
    assert "Traceback" not in (tmp_path / "clickhouse.log").read_text("utf-8")


def test_one_owner_and_a_clean_stop(own_clickhouse: LocalClickHouse, tmp_path: Path) -> None:
    """A second process is refused with a clear word; SIGTERM exits 0, and what was acknowledged is there again."""
    own = own_clickhouse
    argv = [
        sys.executable,
        "-m",
        "pipeline",
        "clickhouse",
        "--data-dir",
        str(tmp_path / "clickhouse"),
        "--port",
        "0",
    ]
    environ = {"ANDON_ENGINE_PASSWORD": "x", "PATH": ""}
    second = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert second.returncode == 1
    assert "another process already owns the ClickHouse engine" in second.stderr
    own.client().insert("verdicts", [["acme", 1]], ["fleet", "observed"])
    assert own.stage.stop() == 0
    own.start()
    assert own.client().command("SELECT sum(observed) FROM verdicts") == 1


def test_without_a_password_it_does_not_start(tmp_path: Path) -> None:
    """There is no open door, not even on loopback."""
    argv = [sys.executable, "-m", "pipeline", "clickhouse", "--data-dir", str(tmp_path)]
    refused = subprocess.run(
        argv, env={"PATH": ""}, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert refused.returncode == 2
    assert "engine.password" in refused.stderr


def test_the_engine_is_not_closed_under_a_cancelling_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end, the thread that cancels SELECTs has left the engine before that is closed."""
    inside, closed, early = threading.Event(), threading.Event(), []
    engine, endpoint = mock.Mock(), mock.Mock(app=web.Application())
    engine.close.side_effect = closed.set
    endpoint.close.side_effect = lambda: inside.wait(DEADLINE_SECONDS)

    def cancel_reads() -> None:
        inside.set()
        early.append(closed.wait(0.3))

    engine.cancel_reads.side_effect = cancel_reads
    monkeypatch.setattr(serving, "Engine", lambda *_: engine)
    monkeypatch.setattr(serving, "Endpoint", lambda *_: endpoint)
    monkeypatch.setattr(serving, "STOP_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = EngineConfig(port=taken.getsockname()[1])
        with pytest.raises(ConfigError, match="cannot listen"):
            asyncio.run(serving.serve(config, []))
    assert early == [False]
    assert closed.is_set()
