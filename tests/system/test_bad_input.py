"""Bad input through the real front doors, kcat and curl: a reason where refused, no halt, and the stream goes on."""

import contextlib
import subprocess
from collections import Counter
from typing import Any

import pytest
from support.outside import Line, encode, event, needs, now_ms, update, wait_for

pytestmark = pytest.mark.service

EVIL = "\x1b[2J\x1b]0;owned\x07<script>alert(1)</script>'; DROP TABLE events; --\n\nDROP TABLE events\n\0{x:String}"
DAY_MS = 86_400_000


def cases(fleet: str) -> list[tuple[str, bytes]]:
    """(reason, message) of what must be refused; every message names its case in a field that nobody reads."""
    now = now_ms()
    good = event(fleet, "h-1", now)

    def but(**changes: Any) -> bytes:
        return encode(good | changes)

    long = "x" * 10_000
    return [
        ("invalid_json", but()[:-20]),
        ("invalid_json", b'{"v":1,"ts":NaN}'),
        ("invalid_json", but(host="HOST").replace(b"HOST", b"\xff\xfe")),
        ("invalid_json", b"\x00\x00\x00"),
        ("not_an_object", b"[" * 5_000),
        ("not_an_object", b"[1,2,3]"),
        ("not_an_object", b'"boot"'),
        ("unknown_version", but(v=2)),
        ("unknown_version", but(v=99)),
        ("unknown_kind", but(kind="reboot")),
        ("missing_field", encode({key: value for key, value in good.items() if key != "host"})),
        ("wrong_type", but(ts="yesterday")),
        ("wrong_type", but(host=17)),
        ("wrong_type", but(updates={"vendor": "x"})),
        ("wrong_type", but(kind="boot", prior="maybe")),
        ("empty_text", but(host="")),
        ("text_too_long", but(model=long)),
        ("ancient_timestamp", but(ts=-1)),
        ("out_of_range", but(ts=10**30)),
        ("ancient_timestamp", but(ts=0)),
        ("future_timestamp", but(ts=now + DAY_MS)),
        ("oversized", but(padding="x" * 70_000)),
    ]


def hostile(fleet: str) -> list[bytes]:
    """What is valid, and wants to do harm: evil texts everywhere, one id a thousand times, a host that crashes 1,500
    times with one update, no updates, 64 updates, an event of last week."""
    now = now_ms()
    crash = {"code": EVIL, "module": EVIL}
    evil = event(fleet, EVIL, now, "crash", signature=crash, ring=EVIL, os=EVIL, model=EVIL, region=EVIL, site=EVIL)
    evil["updates"] = [{"vendor": EVIL, "product": EVIL, "version": EVIL, "installed_at": now - 1_000}]
    lines = [evil, event(fleet, "h-7-days", now - 7 * DAY_MS)]
    lines += [event(fleet, "h-64", now, updates=[update(f"v{n}", now - 1_000) for n in range(64)])]
    lines += [event(fleet, f"clean-{n}", now - 60_000) for n in range(500)]
    repeated = event(fleet, "h-repeat", now, "crash", signature={"code": "0x1", "module": ""})
    repeated["updates"] = [update("repeated", now - 600_000)]
    lines += [repeated] * 1_000
    looping = {"signature": {"code": "0x2", "module": "loop.sys"}, "updates": [update("looped", now - 600_000)]}
    lines += [event(fleet, "h-loop", now - 1_500 + n, "crash", **looping) for n in range(1_500)]
    return [encode(line) for line in lines]


def reason_of(message: dict[str, Any]) -> str:
    """The reason header of a dead letter."""
    headers = message.get("headers") or []
    pairs = dict(zip(headers[::2], headers[1::2], strict=False))
    return str(pairs.get("reason", ""))


def test_bad_input_by_kafka(line: Line) -> None:
    """Each refused message lies in the dead letter with its reason; the valid ones are folded, stored, and no halt."""
    needs("kcat", "curl")
    fleet = "bad-by-kafka"
    refused, good = cases(fleet), hostile(fleet)
    before = Counter(reason_of(message) for message in line.kcat_read("fleet.deadletter"))
    for _, message in refused:
        line.kcat_send("fleet.events", [message], "-D", "\x01")
    line.kcat_send("fleet.events", good)
    expected = Counter(reason for reason, _ in refused)

    def arrived() -> bool:
        now = Counter(reason_of(message) for message in line.kcat_read("fleet.deadletter"))
        return now - before == expected

    wait_for("dead letters", arrived)
    wait_for("folded", lambda: line.folded(fleet) >= len(good))
    assert line.folded(fleet) == len(good)
    assert line.halts(fleet) == {}
    rows_survive(line, fleet, len(good) - 999)


def rows_survive(line: Line, fleet: str, expected: int) -> None:
    """The events are in ClickHouse, each once, evil texts unchanged; a host has one name, whatever its case."""
    count = f"SELECT count() FROM events_once WHERE fleet = '{fleet}'"
    wait_for("rows", lambda: int(line.curl_query(count)) >= expected)
    assert int(line.curl_query(count)) == expected
    client = line.clickhouse()
    try:
        evil = "SELECT host, ring, signature_code FROM events_once WHERE fleet = {f:String} AND host = {h:String}"
        rows = client.query(evil, parameters={"f": fleet, "h": EVIL.lower()}).result_rows
        assert rows in ([], [(EVIL.lower(), EVIL, EVIL)])
        by_start = f"SELECT hex(host) FROM events_once WHERE fleet = '{fleet}' AND startsWith(host, char(27))"
        assert bytes.fromhex(line.curl_query(by_start)).decode() == EVIL.lower()
    finally:
        client.close()


def test_bad_input_by_http(line: Line) -> None:
    """The answer names line and reason of each refused event, the others are accepted, and nothing halts."""
    needs("curl", "kcat")
    fleet = line.info["fleet"]
    halts = set(line.halts(fleet))
    refused = [(reason, message) for reason, message in cases(fleet) if b"\n" not in message]
    body = b"\n".join(message for _, message in refused) + b"\n" + encode(event(fleet, "h-good", now_ms()))
    status, answer = line.curl_send(body)
    assert status == 202
    assert answer["accepted"] == 1
    assert [(entry["line"], entry["reason"]) for entry in answer["rejected"]] == [
        (number, reason) for number, (reason, _) in enumerate(refused, start=1)
    ]
    status, answer = line.curl_send(encode(event("another-fleet", "h", now_ms())))
    assert (status, answer["accepted"], answer["rejected"][0]["reason"]) == (422, 0, "fleet_mismatch")
    assert line.curl_send(b"x" * 10_000_000)[0] == 413
    assert line.curl_send(b"{}", token="wrong")[0] == 401
    assert set(line.halts(fleet)) == halts


def test_a_line_of_ten_megabytes_by_kafka_does_not_stop_the_stream(line: Line) -> None:
    """Whether the broker takes it or not, what follows is folded."""
    needs("kcat")
    fleet = "bad-by-size"
    big = encode(event(fleet, "h-big", now_ms(), padding="x" * 10_000_000))
    with contextlib.suppress(subprocess.CalledProcessError):  # kcat's exit code when the broker says no
        line.kcat_send("fleet.events", [big], "-X", "message.max.bytes=20000000")
    line.kcat_send("fleet.events", [encode(event(fleet, "h-next", now_ms()))])
    wait_for("the next event", lambda: line.folded(fleet) > 0)
    assert line.folded(fleet) == 1  # and only that one


def test_what_only_looks_like_a_partial_is_not_believed(line: Line) -> None:
    """Who may write to the topic of partials has not got the combiner's secret: a dead letter, and no fleet."""
    needs("kcat")
    line.kcat_send("fleet.partials", [b"\x9fnobody sealed this"], "-k", "forged")

    def refused() -> list[str]:
        return [reason_of(m) for m in line.kcat_read("fleet.deadletter") if m["key"] == "forged"]

    assert wait_for("the dead letter", refused) == ["unsealed_partial"]


def test_hostile_text_stays_text_in_logs_and_status(line: Line) -> None:
    """No control character reaches the merged log or the terminal's table."""
    needs("kcat")
    fleet = "hostile-text"
    line.kcat_send("fleet.events", hostile(fleet))
    wait_for("folded", lambda: line.folded(fleet) > 500)
    log = (line.data_dir / "logs" / "andon.log").read_text()
    shown = line.andon("status", "--once")
    for text in (log, shown):
        assert not [c for c in text if not c.isprintable() and c != "\n"]
