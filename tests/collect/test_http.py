"""The gateway over real HTTP, before a real broker: statuses, encodings, bounds, and what lands on the topics."""

import gzip
import json
import shutil
import socket
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from support.collect_gateway import FLEET, Gateway, Reader, event, run_broker, run_gateway
from support.waiting import DEADLINE_SECONDS, until

from pipeline.collect.tokens import add_token
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.wire import topics
from pipeline.wire.hosts import one_host

MAX_BODY_BYTES = 200_000
MAX_DECOMPRESSED_BYTES = 1_000_000


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """One broker for all of these tests."""
    with run_broker() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway, with small bounds."""
    bounds = ["--max-body-bytes", str(MAX_BODY_BYTES), "--max-decompressed-bytes", str(MAX_DECOMPRESSED_BYTES)]
    with run_gateway(broker.bootstrap_servers, tmp_path_factory.mktemp("gateway"), *bounds) as running:
        yield running


@pytest.fixture(scope="module")
def events(broker: EmbeddedBroker) -> Iterator[Reader]:
    """What stands on fleet.events."""
    reader = Reader(broker.bootstrap_servers, topics.EVENTS)
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def letters(broker: EmbeddedBroker) -> Iterator[Reader]:
    """What stands on fleet.deadletter."""
    reader = Reader(broker.bootstrap_servers, topics.DEADLETTER)
    yield reader
    reader.close()


def test_bytes_and_key_on_the_topic_are_those_sent(gateway: Gateway, events: Reader) -> None:
    """The line itself is forwarded, spacing, key order and unknown fields included, keyed by host in UTF-8."""
    raw = event(1, host="höst-1", extra={"b": 1, "a": [2]}).replace(b": ", b" :  ")
    answer = gateway.post(raw + b"\n")
    assert (answer.status, answer.body) == (202, {"accepted": 1, "rejected": []})
    [message] = events.wait_until(lambda m: m.value() == raw)
    assert message.key() == "höst-1".encode()


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "GZIP", "zstd", "gzip members", "zstd frames"])
def test_every_encoding_is_taken(gateway: Gateway, events: Reader, encoding: str) -> None:
    """Identity, gzip and zstd, and several compressed streams in a row, hold the same lines."""
    first, second = (event(n, id=f"{encoding}-{n}") for n in (1, 2))
    compress = {"gzip": gzip.compress, "zstd": zstd.compress}.get(encoding.lower().split(" ")[0], bytes)
    parts = [first + b"\n", second]
    body = b"".join(map(compress, parts)) if " " in encoding else compress(b"".join(parts))
    answer = gateway.post(body, encoding.split(" ")[0])
    assert (answer.status, answer.body) == (202, {"accepted": 2, "rejected": []})
    events.wait_until(lambda m: m.value() in (first, second), count=2)


@pytest.mark.parametrize(
    ("body", "lines"),
    [(json.dumps(json.loads(event(1)), indent=2).encode(), 1), (event(2) + b"\r\n\n" + event(3) + b"\n", 2)],
    ids=["one object over many lines", "lines"],
)
def test_json_is_one_object_or_lines(gateway: Gateway, body: bytes, lines: int) -> None:
    """As application/json an object may be spread over lines, and lines are understood all the same."""
    answer = gateway.post(body, kind="application/json; charset=utf-8")
    assert (answer.status, answer.body) == (202, {"accepted": lines, "rejected": []})


def test_good_lines_pass_beside_bad_ones(gateway: Gateway, events: Reader, letters: Reader) -> None:
    """Each bad line is named by its number in the body, goes to the dead letters untouched, and stops nothing."""
    future = int(time.time() * 1000) + 3_600_000
    good = event(10, id="good-among-bad")
    bad = {
        "invalid_json": event(11)[:-5],
        "not_an_object": b"[1]",
        "unknown_version": event(12, v=2),
        "unknown_kind": event(13, kind="reboot"),
        "missing_field": b'{"v":1,"kind":"crash"}',
        "wrong_type": event(14, host=7),
        "empty_text": event(15, ring=""),
        "text_too_long": event(16, model="m" * 10_000),
        "out_of_range": event(18, ts=2**60),
        "ancient_timestamp": event(19, ts=1000),
        "future_timestamp": event(20, ts=future),
        "fleet_mismatch": event(21, fleet="another"),
        "oversized": event(22, padding="x" * 70_000),
    }
    answer = gateway.post(b"\n".join([good, b"", *bad.values()]))
    assert answer.status == 202
    assert answer.body["accepted"] == 1
    assert [(entry["line"], entry["reason"]) for entry in answer.body["rejected"]] == list(enumerate(bad, 3))
    events.wait_until(lambda m: m.value() == good)
    found = letters.wait_until(lambda m: m.value() in bad.values(), count=len(bad))
    by_value = {message.value(): dict(message.headers() or []) for message in found}
    assert {reason: by_value[raw]["reason"].decode() for reason, raw in bad.items()} == {
        reason: reason for reason in bad
    }
    assert all((h["stage"], h["offset"]) == (b"collect", b"-1") for h in by_value.values())


@pytest.mark.parametrize(
    "member",
    ['"fleet":"victim"', '"Fleet":"victim"', '"fl\\u0065et":"victim"', '"FL\\u0045et":["acme"]', '"FLEET":null'],
)
@pytest.mark.parametrize("beside", [0, 1])
def test_a_line_is_one_fleets_for_every_reader(gateway: Gateway, member: str, beside: int) -> None:
    """Whichever of two members a reader takes, however it is spelt: no line could be taken for another fleet's."""
    raw = b"{%s,%s" % (member.encode(), event(40)[1:])
    answer = gateway.post(b"\n".join([raw, *map(event, range(beside))]))
    assert (answer.status, answer.body["accepted"]) == (202 if beside else 422, beside)
    assert [entry["reason"] for entry in answer.body["rejected"]] == ["fleet_mismatch"]


@pytest.mark.parametrize(
    "raw",
    [
        event(41, ring="fleet", extra={"fleet": "victim"}),
        event(41, extra="\\u0066leet", more=[{"fleet": 1}] * 3),
        b'{"fleet":"acme",' + event(41)[1:],
    ],
    ids=["as a value and below", "escaped text", "twice the same"],
)
def test_the_word_fleet_elsewhere_is_nothing(gateway: Gateway, raw: bytes) -> None:
    """Only members of the event itself count, and the same fleet twice is that fleet."""
    assert gateway.post(raw).body == {"accepted": 1, "rejected": []}


@pytest.mark.parametrize(
    "raw",
    [b"NaN", b"\x00" * 50, b"\xff\xfe{}", b'{"v":NaN}', b"[" * 5000, b'{"a":"\\ud800"}', b"'; DROP TABLE events; --"],
    ids=["nan", "zero bytes", "not utf-8", "nan inside", "deep", "lone surrogate", "sql"],
)
def test_what_is_not_json_is_told_so(gateway: Gateway, letters: Reader, raw: bytes) -> None:
    """Hostile bytes get a reason code and reach the dead letters as they were."""
    answer = gateway.post(raw)
    assert (answer.status, answer.body["accepted"], len(answer.body["rejected"])) == (422, 0, 1)
    letters.wait_until(lambda m: m.value() == raw)


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "'; DROP TABLE x; --", "\x1b[2J\x1b]0;x\x07", "a\0b", "😀\u202e"]
)
def test_hostile_texts_are_data(gateway: Gateway, events: Reader, text: str) -> None:
    """SQL, HTML, terminal escapes, zero bytes and odd Unicode in every text pass through unchanged; the key is
    the host's one name."""
    update = {"vendor": text, "product": text, "version": text, "installed_at": 1_764_000_000_000}
    raw = event(30, id=text, host=text, ring=text, os=text, model=text, updates=[update])
    answer = gateway.post(raw)
    assert (answer.status, answer.body) == (202, {"accepted": 1, "rejected": []})
    [message] = events.wait_until(lambda m: m.value() == raw)
    assert message.key() == one_host(text).encode()


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer wrong", "Basic dTpw", "Bearer ä", "TOKEN"])
def test_without_a_known_token_nothing_enters(gateway: Gateway, authorization: str | None) -> None:
    """401 and how to authenticate, the same for no token, a wrong one, and another scheme."""
    headers = {"Content-Type": "application/json"}
    if authorization is not None:
        headers["Authorization"] = gateway.token if authorization == "TOKEN" else authorization
    answer = gateway.ask("/v1/events", event(1), headers)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_added_later_is_taken(gateway: Gateway) -> None:
    """`andon token` while the gateway runs needs no restart, and its fleet is the new token's."""
    token = add_token(gateway.process.log.parent / "tokens.toml", "later")
    until("it is known", lambda: gateway.post(event(1, fleet="later"), token=token).status == 202)
    answer = gateway.post(event(1), token=token)
    assert [entry["reason"] for entry in answer.body["rejected"]] == ["fleet_mismatch"]


@pytest.mark.parametrize(("kind", "encoding"), [("text/plain", ""), ("application/json", "br"), ("", "gzip, gzip")])
def test_unknown_forms_are_refused(gateway: Gateway, kind: str, encoding: str) -> None:
    """415 for a content type or an encoding that is not understood."""
    assert gateway.post(event(1), encoding, kind or "application/json").status == 415


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("cut", [1, 8, 30])
def test_a_truncated_body_is_refused_whole(gateway: Gateway, encoding: str, cut: int) -> None:
    """400 when the compressed stream ends early: half a batch is no batch."""
    body = {"gzip": gzip.compress, "zstd": zstd.compress}[encoding](b"\n".join(map(event, range(20))))
    answer = gateway.post(body[:-cut], encoding)
    assert (answer.status, answer.body["error"]) == (400, "truncated")


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_body_that_is_not_its_encoding_is_refused(gateway: Gateway, encoding: str) -> None:
    """400 for plain text that claims to be compressed."""
    answer = gateway.post(event(1), encoding)
    assert (answer.status, answer.body["error"]) == (400, "bad_compression")


@pytest.mark.parametrize("body", [b"", b"\n \n\r\n"])
def test_an_empty_body_is_refused(gateway: Gateway, body: bytes) -> None:
    """400: a sender that sends nothing has a fault."""
    answer = gateway.post(body)
    assert (answer.status, answer.body["error"]) == (400, "empty_body")


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_refused(gateway: Gateway, declared: bool) -> None:
    """413, whether Content-Length says it beforehand or a chunked body turns out too long."""
    body = b"x" * (MAX_BODY_BYTES + 1)
    headers = f"Authorization: Bearer {gateway.token}\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n"
    if declared:
        head, payload = f"Content-Length: {len(body)}\r\n", b""
    else:
        head, payload = "Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=DEADLINE_SECONDS) as peer:
        peer.sendall(f"POST /v1/events HTTP/1.1\r\nHost: x\r\n{headers}{head}\r\n".encode() + payload)
        assert peer.recv(4096).startswith(b"HTTP/1.1 413 ")


def zeros(size_bytes: int, compressor: Any) -> bytes:
    """Compressed zeros, made piece by piece."""
    piece = bytes(1 << 20)
    return b"".join(compressor.compress(piece) for _ in range(size_bytes >> 20)) + bytes(compressor.flush())


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_decompression_bomb_is_cut_off(gateway: Gateway, encoding: str) -> None:
    """413 at the bound, and the process never holds the inflated whole."""
    gigabyte, as_much_as_fits = 1 << 30, 96 << 20
    body = (
        zeros(gigabyte, zstd.ZstdCompressor())
        if encoding == "zstd"
        else zeros(as_much_as_fits, zlib.compressobj(9, wbits=31))
    )
    assert len(body) < MAX_BODY_BYTES
    answer = gateway.post(body, encoding)
    assert (answer.status, answer.body["error"]) == (413, "too_large_decompressed")
    assert gateway.process.peak_rss_bytes() < 150_000 << 10


def test_a_window_of_gigabytes_is_not_allocated(gateway: Gateway) -> None:
    """A tiny zstd frame that asks for a window over 8 MiB is refused."""
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.enable_long_distance_matching: 1}
    compressor = zstd.ZstdCompressor(options=options)
    body = compressor.compress(event(1)) + compressor.flush()
    answer = gateway.post(body, "zstd")
    assert (answer.status, answer.body["error"]) == (400, "bad_compression")


def test_empty_gzip_members_end_somewhere(gateway: Gateway) -> None:
    """Thousands of empty streams in one body are refused."""
    answer = gateway.post(gzip.compress(b"") * 5000, "gzip")
    assert (answer.status, answer.body["error"]) == (400, "bad_compression")


def test_health_and_unknown_paths(gateway: Gateway) -> None:
    """Ready while the broker has our topics; what is not offered is refused in the form of every refusal."""
    for path in ("/health", "/readyz"):
        assert gateway.ask(path).body["status"] == "ok"
        assert gateway.ask(path).body["why_not"] == []
    assert gateway.ask("/healthz").body["alive"] is True
    wrong = gateway.ask("/v1/events")
    assert (wrong.status, wrong.body["error"], wrong.headers["Allow"]) == (405, "wrong_method", "POST")
    missing = gateway.ask("/v1/event")
    assert (missing.status, missing.body["error"]) == (404, "no_such_path")
    assert "/v1/events" in missing.body["detail"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_data_binary_works(gateway: Gateway, events: Reader, tmp_path: Path) -> None:
    """The client that everybody has, with a file of lines."""
    lines = [event(n, id=f"curl-{n}") for n in range(50)]
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join(lines) + b"\n")
    argv = ["curl", "-sS", "--fail", "--data-binary", f"@{file}", "-H", f"Authorization: Bearer {gateway.token}"]
    argv += [f"{gateway.url}/v1/events"]  # with the content type that curl says by itself
    done = subprocess.run(argv, capture_output=True, timeout=DEADLINE_SECONDS, check=True)
    assert json.loads(done.stdout) == {"accepted": 50, "rejected": []}
    events.wait_until(lambda m: m.value() in lines, count=50)


def test_no_token_stands_in_the_log(gateway: Gateway) -> None:
    """Secrets are never logged."""
    gateway.post(event(1, fleet=FLEET))
    assert gateway.token not in gateway.process.log.read_text("utf-8")
