"""What an account of the local ClickHouse may take of it, in time and memory, and what a malformed request gets."""

import base64
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from support.clickhouse import LocalClickHouse
from support.engines import clickhouse_in
from support.peers import HALF_A_HEAD, connect, held, is_closed
from support.waiting import DEADLINE_SECONDS, until

from pipeline.local.clickhouse.places import MAX_WAITING, READERS
from pipeline.local.machine.leash import leash
from pipeline.local.machine.ports import free_port

pytestmark = pytest.mark.service

SLOW = b"SELECT sum(sleepEachRow(1)) FROM numbers(40) SETTINGS max_block_size = 1, max_threads = 1"
# As `andon clickhouse`, on a kernel that does not hold it.
UNCONFINED = """
import sys
from pipeline.local.clickhouse import main
main.confine = lambda directory: "off for this test"
main.command(sys.argv[1:])
"""
# As `andon clickhouse`, in a hurry and with few places.
HASTY = """
import sys
from pipeline.local.clickhouse import incoming, main, outgoing, serving
from pipeline.runtime.web.connections import Patience
serving.MAX_CONNECTIONS, serving.PATIENCE, incoming.BODY_SECONDS = 8, Patience(4.0, 2.0), 1.0
outgoing.TAKE_SECONDS = 2.0
main.command(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the endpoint's data and log."""
    return tmp_path_factory.mktemp("bounds")


@pytest.fixture(scope="module")
def line(schema: Path, directory: Path) -> Iterator[LocalClickHouse]:
    """The endpoint."""
    with clickhouse_in(directory, schema) as running:
        yield running


def as_user(line: LocalClickHouse, user: str, password: str) -> Client:
    """A client of an account."""
    port = int(line.server.url.rpartition(":")[2])
    where = {"host": "127.0.0.1", "port": port, "autogenerate_session_id": False}
    return clickhouse_connect.get_client(username=user, password=password, **where)


def basic(user: str, password: str) -> bytes:
    """The header that says who asks."""
    return b"Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()) + b"\r\n"


def sent(line: LocalClickHouse, raw: bytes) -> socket.socket:
    """A connection that has sent this."""
    address = urlsplit(line.server.url)
    connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=DEADLINE_SECONDS)
    connection.sendall(raw)
    return connection


def refused(line: LocalClickHouse, ask: bytes) -> bool:
    """Whether there is no place, not even one to wait in; what gets one is left at once, and ends."""
    with sent(line, ask) as connection:
        connection.settimeout(0.5)
        try:
            return connection.recv(100).startswith(b"HTTP/1.1 503")
        except TimeoutError:
            return False


def test_who_waits_takes_no_place_of_others(line: LocalClickHouse) -> None:
    """With every place of analysts' taken and one more refused, Grafana is served and the archive inserts; once the
    clients are gone, what they asked has ended, and analysts are served again."""
    who = basic("andon_read", line.read_password)
    ask = b"POST / HTTP/1.1\r\nHost: h\r\n" + who + b"Content-Length: %d\r\n\r\n" % len(SLOW) + SLOW
    running = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow%' AND query NOT LIKE '%processes%'"
    asking = [sent(line, ask) for _ in range(READERS + MAX_WAITING)]
    try:
        until("every place is taken", lambda: line.client().command(running) == READERS)
        until("the others wait", lambda: refused(line, ask))
        assert as_user(line, "andon_grafana", line.grafana_password).command("SELECT 1") == 1
        writer = as_user(line, "andon_write", line.write_password)
        writer.raw_query("INSERT INTO andon.halt_acks (subscriber) VALUES ('s')")
    finally:
        for connection in asking:
            connection.close()
    until("what nobody waits for has ended", lambda: line.client().command(running) == 0)
    assert as_user(line, "andon_read", line.read_password).command("SELECT 1") == 1


def test_an_answer_that_is_made_whole_is_bounded(line: LocalClickHouse) -> None:
    """Too much of it is an error, and an account cannot lift that; in a format that streams there may be more."""
    sql = "SELECT number FROM numbers(20000000)"
    for user, password in (("andon", line.password), ("andon_read", line.read_password)):
        with pytest.raises(DatabaseError) as refused:
            as_user(line, user, password).raw_query(sql, fmt="JSON")
        assert refused.value.code == 396, user
    reader = as_user(line, "andon_read", line.read_password)
    for setting in ("max_result_bytes = 0", "log_comment = 'mine'"):
        with pytest.raises(DatabaseError) as refused:
            reader.raw_query(f"SELECT 1 SETTINGS {setting}")
        assert refused.value.code == 452, setting
    who = basic("andon_read", line.read_password)
    with sent(line, b"GET /?query=SELECT+number+FROM+numbers(2000000) HTTP/1.0\r\n" + who + b"\r\n") as stream:
        assert sum(iter(lambda: len(stream.recv(1 << 16)), 0)) > 10_000_000
    most = line.client().command("SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'")
    assert 0 < int(most) < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_question_of_a_reader_is_bounded(line: LocalClickHouse) -> None:
    """Its body, and the statement in it, before anything of it is read."""
    who = basic("andon_read", line.read_password)
    for size in (300 * 1024, 2 * 1024 * 1024):
        head = b"POST / HTTP/1.1\r\nHost: h\r\n" + who + b"Content-Length: %d\r\n\r\n" % size
        with sent(line, head) as connection:
            connection.sendall(
                b"SELECT 1".ljust(size, b"\n1"[:1]) if size > 1 << 20 else b"SELECT 1" + b",1" * (size // 2 - 4)
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 413"), size


def test_malformed_requests_get_an_error_and_no_traceback(line: LocalClickHouse, directory: Path) -> None:
    """Ids and formats that are no header, names and passwords that are no text, half forms: 4xx, said in a line."""
    who = basic("andon", line.password)
    form = b"Content-Type: multipart/form-data; boundary=x\r\n"
    requests = [
        b"GET /?query_id=a%0d%0aX:%20y&query=SELECT+1 HTTP/1.0\r\n" + who,
        b"GET /?query_id=" + b"a" * 200 + b"&query=SELECT+1 HTTP/1.0\r\n" + who,
        b"GET /?query_id=%e2%80%ae%00&query=SELECT+1 HTTP/1.0\r\n" + who,
        b"GET /?default_format=JSON%0aX:y&query=SELECT+1 HTTP/1.0\r\n" + who,
        b"GET /?query=SELECT+1 HTTP/1.0\r\nX-ClickHouse-Format: \xff\r\n" + who,
        b"GET /?query=SELECT+1 HTTP/1.0\r\nX-ClickHouse-Database: \xff\r\n" + who,
        b"GET /?session_id=" + b"a" * 200 + b"&query=SELECT+1 HTTP/1.0\r\n" + who,
        b"GET /?query=SELECT+1 HTTP/1.0\r\nX-ClickHouse-User: \xff\r\nX-ClickHouse-Key: \xfe\r\n",
        b"GET /?query=SELECT+1 HTTP/1.0\r\nAuthorization: Basic \xff\xfe\r\n",
        b"GET /?query=SELECT+1 HTTP/1.0\r\nAuthorization: Basic ////\r\n",
        b"GET /?user=%ff&password=%fe&query=SELECT+1 HTTP/1.0\r\n",
        b"POST /?query=SELECT+1 HTTP/1.0\r\nContent-Length: 9\r\nContent-Type: multipart/form-data\r\n"
        + who
        + b"\r\n--x\r\nabcd",
        b"POST / HTTP/1.0\r\nContent-Length: 9\r\n" + form + who + b"\r\n--x\r\nabcd",
        b"POST / HTTP/1.0\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n" + who + b"\r\nabcde",
        b"GET /?query=SELECT+%ff'%00 HTTP/1.0\r\n" + who,
        b"GET /?max%20threads=1&query=SELECT+1 HTTP/1.0\r\n" + who,
    ]
    for raw in requests:
        with sent(line, raw if b"\r\n\r\n" in raw else raw + b"\r\n") as connection:
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        assert answer[:12] in (b"HTTP/1.0 400", b"HTTP/1.0 403", b"HTTP/1.0 404"), (raw, answer)
        assert b"\nX: y" not in answer
    assert "Traceback" not in (directory / "clickhouse.log").read_text("utf-8")


@contextmanager
def endpoint(directory: Path, code: str) -> Iterator[int]:
    """This code as `andon clickhouse`, with every account; its port. Its log is the file `log`."""
    port = free_port()
    argv = [sys.executable, "-c", code, "--data-dir", str(directory / "data"), "--port", str(port)]
    environ = {f"ANDON_ENGINE_{name}": name for name in ("PASSWORD", "READ_PASSWORD", "GRAFANA_PASSWORD")}
    environ["ANDON_ENGINE_WRITE_PASSWORD"] = "WRITE_PASSWORD"
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(argv, env={"PATH": "", **environ}, stderr=log, stdout=log, preexec_fn=leash(9))

        def listens() -> bool:
            with socket.socket() as attempt:
                return process.poll() is not None or attempt.connect_ex(("127.0.0.1", port)) == 0

        try:
            until("it listens, or ends", listens, 60.0)
            yield port
        finally:
            process.kill()
            process.wait()


def test_half_a_request_is_given_up_and_keeps_nobody_out(tmp_path: Path) -> None:
    """Half-sent heads, more than there are places, leave room for a true request; each is closed in time, and so is a
    body that does not come, and an answer that nobody takes."""
    with endpoint(tmp_path, HASTY) as port:
        with held(port, 80) as peers:
            until("a true one is answered", lambda: pinged(port), 4.0)
            assert any(map(is_closed, peers))
        with connect(port, HALF_A_HEAD) as peer:
            until("it is closed", lambda: is_closed(peer))
        head = b"POST / HTTP/1.1\r\nHost: h\r\n" + basic("andon", "PASSWORD") + b"Content-Length: 9\r\n\r\nSEL"
        with connect(port, head) as peer:
            assert peer.recv(100).startswith(b"HTTP/1.1 408 ")
            until("it is closed", lambda: is_closed(peer))
        endless = b"GET /?query=SELECT+*+FROM+numbers(1000000000000) HTTP/1.0\r\n"
        with connect(port, endless + basic("andon_read", "READ_PASSWORD") + b"\r\n") as peer:
            until("its statement runs", lambda: running(port, b"numbers(") == 1)
            until("its statement has ended", lambda: running(port, b"numbers(") == 0)
            until("it is closed", lambda: is_closed(peer))
    assert "Traceback" not in (tmp_path / "log").read_text("utf-8")


def running(port: int, word: bytes) -> int:
    """How many statements with this word run, this question aside."""
    sql = b"SELECT+countIf(position(query,'" + word + b"')>0)-1+FROM+system.processes"
    with connect(port, b"GET /?query=" + sql + b" HTTP/1.0\r\n" + basic("andon", "PASSWORD") + b"\r\n") as peer:
        return int(b"".join(iter(lambda: peer.recv(1 << 16), b"")).split()[-1])


def pinged(port: int) -> bool:
    """Whether it answers just now."""
    try:
        with connect(port, b"GET /ping HTTP/1.0\r\n\r\n") as peer:
            return peer.recv(100).startswith(b"HTTP/1.0 200 ")
    except OSError:
        return False


def test_where_the_kernel_does_not_hold_it_only_the_owner_comes_in(tmp_path: Path) -> None:
    """A limited account is refused with the reason, whatever it asks."""
    with endpoint(tmp_path, UNCONFINED) as port:
        where = {"host": "127.0.0.1", "port": port}
        owner = clickhouse_connect.get_client(username="andon", password="PASSWORD", **where)
        assert owner.command("SELECT 1") == 1
        for user in ("read", "grafana", "write"):
            with pytest.raises(DatabaseError, match=r"only the owner may come in.*off for this test") as refused:
                clickhouse_connect.get_client(username=f"andon_{user}", password=f"{user.upper()}_PASSWORD", **where)
            assert refused.value.code == 497
    assert "only the owner may come in" in (tmp_path / "log").read_text("utf-8")
