"""Answers that break off, and answers on a terminal: `andon query` and `andon backtest --from-clickhouse` say so."""

import http.client
import json
import os
import pty
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from support.clickhouse_data import command
from support.engines import Database

from consumers.clickhouse.ask.answer import TAG_HEADER, CutOff, Reading, read_answer

HOSTILE = "x\x1b[2J\u202e\x9b1m\r'"
NOW = datetime.now(UTC)
ROW = {"fleet": "acme", "host": HOSTILE, "kind": "heartbeat", "ts": NOW, "ingested_at": NOW, "id": "i"}


class Stream:
    """A response: these blocks, then an end or an error."""

    def __init__(self, *blocks: bytes, tag: str = "", error: Exception | None = None) -> None:
        self.headers = {TAG_HEADER: tag} if tag else {}
        self._blocks, self._error = list(blocks), error

    def read1(self, _: int) -> bytes:
        """The next block."""
        if not self._blocks and self._error:
            raise self._error
        return self._blocks.pop(0) if self._blocks else b""


def drained(read: Callable[[], bytes]) -> bytes:
    """Everything."""
    return b"".join(iter(read, b""))


def test_a_whole_answer_comes_byte_by_byte() -> None:
    """What only looks like the beginning of an error's mark is kept."""
    blocks = (b"a__exc", b"eption__\r", b"\nTAX", b"_", b"__exception__\r\nTA")
    assert drained(Reading(Stream(*blocks, tag="TAG"))) == b"".join(blocks)
    assert drained(Reading(Stream(b"__exception__\r\n", b"rest"))) == b"__exception__\r\nrest"


@pytest.mark.parametrize("cut", range(1, 24))
def test_the_servers_last_words_are_its_reason(cut: int) -> None:
    """An error after rows have been sent is told in the answer, behind a mark, wherever blocks divide it."""
    raw = b"row\n\r\n__exception__\r\nTAG\r\nCode: 159. TIMEOUT\x1b\n18 TAG\r\n__exception__\r\n"
    read = Reading(Stream(raw[:cut], raw[cut:], tag="TAG", error=ConnectionResetError()))
    assert read() == b"row\n"
    with pytest.raises(CutOff, match=r"after 4 bytes and is incomplete \(Code: 159. TIMEOUT\\x1b\)"):
        read()


def test_what_came_before_a_break_is_given_first() -> None:
    """In blocks whose size depends on nothing but the answer."""
    read = Reading(Stream(b"abc", b"def", error=ConnectionResetError("gone")))
    assert [read(2), read(2), read(2)] == [b"ab", b"cd", b"ef"]
    with pytest.raises(CutOff, match="after 6 bytes and is incomplete \\(gone\\)"):
        read(2)


@pytest.mark.parametrize("tail", [b'{"exception": "Code: 159"}\n', b"Code: 159. DB::Exception\n", b"[1"])
@pytest.mark.parametrize("most_rows", [0, 9])
def test_older_servers_say_it_as_a_row(tail: bytes, most_rows: int) -> None:
    """An object, plain text or half a row in the place of a row is an error, shown or not."""
    with pytest.raises(CutOff, match="incomplete"):
        read_answer(Reading(Stream(b'["a"]\n["UInt8"]\n[1]\n', tail)), most_rows)


class Cutting(ThreadingHTTPServer):
    """Passes on to ClickHouse; of answers to what contains `word` it lets only half pass, in chunks, as a server does
    that dies."""

    daemon_threads = True

    def __init__(self, url: str, word: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.to, self.word = url.removeprefix("http://"), word


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Cutting

    def do_POST(self) -> None:
        """One request."""
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(self.server.to, timeout=30)
        connection.request("POST", self.path, asked, dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        cut = self.server.word in asked
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        body = body[: len(body) // 2] if cut else body
        self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body) if body else b"")
        self.wfile.write(b"" if cut else b"0\r\n\r\n")
        self.close_connection = cut

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def one_event(module_database: Database) -> Database:
    """With hostile text."""
    module_database.client().insert("events", [list(ROW.values())], column_names=list(ROW))
    return module_database


@pytest.mark.parametrize(
    ("word", "arguments", "begins"),
    [
        (b"numbers", ("query", "SELECT number FROM numbers(3000)", "--format", "csv"), b'"number"\n0\n1\n'),
        (b"numbers", ("query", "SELECT number FROM numbers(3000)"), b""),
        (b"JSONEachRow", ("backtest", "--from-clickhouse", "--since", "2024-01-01", "--json"), b""),
        (b"DISTINCT", ("backtest", "--from-clickhouse", "--since", "2024-01-01", "--json"), b""),
    ],
)
def test_an_answer_that_breaks_off_is_an_error(
    one_event: Database, word: bytes, arguments: tuple[str, ...], begins: bytes
) -> None:
    """One line that says so, exit code 1, no traceback; a table shows nothing rather than half."""
    with Cutting(one_event.server.url, word) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = ("--clickhouse-url", f"http://127.0.0.1:{server.server_port}")
        argv, environ = command(one_event, *arguments, *here, reads=True)
        done = subprocess.run(argv, env=environ, capture_output=True, timeout=180, check=False)
        server.shutdown()
    assert done.returncode == 1, done
    assert done.stdout.startswith(begins)
    assert bool(done.stdout) == bool(begins)
    assert done.stderr.startswith(b"andon: ClickHouse at http://127.0.0.1:")
    assert done.stderr.count(b"\n") == 1, done.stderr.decode()
    assert b"incomplete" in done.stderr or word == b"DISTINCT"


def test_arrays_maps_and_tuples_are_parameters_as_sql_writes_them(one_event: Database) -> None:
    """With quotes and backslashes of their own; a string stays whatever it is, and what is malformed is said."""
    sql = "SELECT {a:Array(String)} AS a, {m:Map(String, Array(UInt8))} AS m, { t : Tuple(UInt8, String)} AS t"
    sql += ", {s:String} AS s"
    given = {"a": r"['it\'s','\\','ä\n']", "m": "{'k':[1,2]}", "t": "(1,'x')", "s": "['\\n\n"}
    options = [f"-p{name}={value}" for name, value in given.items()]
    argv, environ = command(one_event, "query", sql, "--format", "json", *options, reads=True)
    done = subprocess.run(argv, env=environ, capture_output=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["data"]
    assert row == {"a": ["it's", "\\", "ä\n"], "m": {"k": [1, 2]}, "t": [1, "x"], "s": given["s"]}
    argv, environ = command(one_event, "query", "SELECT {a:Array(String)}", "-pa=[new-1]", reads=True)
    done = subprocess.run(argv, env=environ, capture_output=True, timeout=180, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"value [new-1] cannot be parsed as Array(String) for query parameter 'a'" in done.stderr


def on_a_terminal(argv: list[str], environ: dict[str, str]) -> str:
    """What it writes to standard output, when that is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(argv, env=environ | {"TERM": "dumb"}, stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        got = b""
        try:
            while block := os.read(ours, 1 << 16):
                got += block
        except OSError:  # its other side is closed
            pass
        assert process.wait(60) == 0, process.stderr.read() if process.stderr else ""
    os.close(ours)
    return got.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_nothing_drives_a_terminal_and_files_are_exact(one_event: Database, form: str) -> None:
    """ESC, C1 and bidirectional controls are escaped on a terminal in every format; in a pipe the bytes are exact."""
    argv, environ = command(one_event, "query", "SELECT host FROM events", "--format", form, reads=True)
    shown = on_a_terminal(argv, environ)
    assert "x" in shown
    assert ("\\u202e\\u009b1m" if form == "json" else "\\u202e\\x9b1m") in shown
    assert all(character.isprintable() or character in "\n\t" for character in shown)
    piped = subprocess.run(argv, env=environ, capture_output=True, timeout=180, check=True).stdout.decode()
    if form != "table":
        assert "\u202e\x9b1m" in piped
