"""Events and records become columns, and no refused message becomes a row."""

from pathlib import Path

import msgspec
import pyarrow as pa
from msgspec.structs import replace

from consumers.clickhouse.archive.events import KIND, PRIOR, EventRows, event_columns
from consumers.clickhouse.archive.records import Record, record_rows
from pipeline.bench.combine_load import EventLoad, messages
from pipeline.halt.signing import load_or_create, load_trusted
from pipeline.wire.acks import HaltAck
from pipeline.wire.decode import decode_event
from pipeline.wire.events import Boot, Crash
from pipeline.wire.halts import Halt, encode_halt
from pipeline.wire.hosts import HostNames
from pipeline.wire.topics import DEADLETTER, HALT_ACKS, HALTS, VERDICTS
from pipeline.wire.verdicts import (
    AlarmSignature,
    Explanation,
    FleetAlarm,
    FleetHeartbeat,
    Suspect,
    Verdict,
    encode_verdict,
)

NOW = 1_795_000_000_000
VERDICT = Verdict(
    fleet="acme", vendor="v", product="p", version="1", ring="canary", state="watching", at=NOW,
    log10_evidence=1, threshold=6, basis="concurrent", observed=3, expected=1, relative_risk=(1, 2),
    crashed_hosts=3, exposed_trials=9, explanation=Explanation("pooled"), flags=("capped",),
)  # fmt: skip
EVENTS = [value for _, value in messages(EventLoad(3000, 100, 20, 60.0, NOW, 7))]


def test_columns_say_what_the_events_say() -> None:
    """Field by field, for every kind of event."""
    events = [decode_event(raw) for raw in EVENTS]
    rows = event_columns(events, range(NOW, NOW + len(events))).to_pylist()
    assert {row["kind"] for row in rows} == set(KIND.values())
    for event, row in zip(events, rows, strict=True):
        for name in ("fleet", "host", "ring", "os", "model", "region", "site", "id"):
            assert row[name] == getattr(event, name)
        assert row["kind"] == KIND[type(event)]
        assert row["ts"].timestamp() * 1000 == event.ts
        assert row["updates.version"] == [update.version for update in event.updates]
        assert row["updates.vendor"] == [update.vendor for update in event.updates]
        assert [at.timestamp() * 1000 for at in row["updates.installed_at"]] == [u.installed_at for u in event.updates]
        assert row["prior"] == (PRIOR[event.prior] if isinstance(event, Boot) else 0)
        code = event.signature.code if isinstance(event, Crash) else ""
        assert row["signature_code"] == code


def test_events_without_updates() -> None:
    """No update at all in a batch: empty lists, not missing ones."""
    raw = msgspec.json.encode(msgspec.json.decode(EVENTS[0]) | {"updates": []})
    assert event_columns([decode_event(raw)], [NOW]).to_pylist()[0]["updates.product"] == []


def test_a_host_is_stored_under_its_one_name() -> None:
    """As the combiner counts it, or ClickHouse would count one machine three times."""
    names = ("H-1", "h-1.corp.example", "h-1")
    values = [msgspec.json.encode(msgspec.json.decode(EVENTS[0]) | {"host": name}) for name in names]
    stored = EventRows()(values, [NOW] * len(values)).tables["events"].column("host").to_pylist()
    kept = EventRows(HostNames(("*",)))(values, [NOW] * len(values)).tables["events"].column("host").to_pylist()
    assert (stored, kept) == (["h-1"] * 3, ["h-1", "h-1.corp.example", "h-1"])


def test_refused_events_are_counted_and_left_out() -> None:
    """Bad JSON, a missing value and a clock in the future: by the wire's own rules, with its reasons."""
    future = msgspec.json.encode(msgspec.json.decode(EVENTS[1]) | {"ts": NOW + 3_600_000})
    values = [EVENTS[0], b"{", b"", future, EVENTS[2]]
    rows = EventRows()(values, [NOW] * len(values))
    assert sorted(rows.refused) == ["future_timestamp", "invalid_json", "invalid_json"]
    ids = rows.tables["events"].column("id").to_pylist()
    assert ids == [decode_event(EVENTS[0]).id, decode_event(EVENTS[2]).id]
    assert EventRows()([b"{"], [NOW]).total == 0


def record(value: bytes | None, key: bytes = b"k", offset: int = 5) -> Record:
    """A Kafka record as tests need it."""
    return Record(0, offset, NOW, key, value, [("reason", b"invalid_json"), ("offset", b"17"), ("partition", b"2")])


def test_records_become_rows() -> None:
    """Verdicts and heartbeats part; a dead letter keeps its bytes; tombstones and nonsense give no row."""
    beat = FleetHeartbeat(fleet="acme", at=NOW, stream_time=NOW, live_updates=1, events=2, offset=3)
    found = [encode_verdict(VERDICT), encode_verdict(beat)]
    rows = record_rows(
        VERDICTS.name, [record(found[0]), record(found[1], b"acme/-/heartbeat"), record(None), record(b"[")]
    )
    assert {table: found.num_rows for table, found in rows.tables.items()} == {
        "verdicts": 1,
        "heartbeats": 1,
        "dead_letters": 1,
    }
    assert rows.refused == ["unreadable_record"]
    letter = rows.tables["dead_letters"].to_pylist()[0]
    assert (letter["value"], letter["reason"], letter["topic"], letter["stage"]) == (
        b"[", "unreadable_record", "fleet.verdicts", "archive",
    )  # fmt: skip
    assert rows.tables["verdicts"].to_pylist()[0]["record"] == found[0]
    row = record_rows(DEADLETTER.name, [record(b"\x00\xff{")]).tables["dead_letters"].to_pylist()[0]
    assert (row["value"], row["reason"], row["offset"], row["partition"]) == (b"\x00\xff{", "invalid_json", 17, 2)


def test_a_number_that_no_column_holds_is_refused() -> None:
    """It costs its own row, not the batch, and never the stage."""
    good = HaltAck(halt_key="k", epoch=1, subscriber="s", status="confirmed", at=NOW)
    acks = [good, msgspec.structs.replace(good, at=2**64 - 1)]
    rows = record_rows(HALT_ACKS.name, [record(msgspec.json.encode(ack)) for ack in acks])
    assert rows.tables["halt_acks"].num_rows == 1
    assert rows.refused == ["out_of_range"]
    assert rows.tables["dead_letters"].to_pylist()[0]["value"] == msgspec.json.encode(acks[1])
    assert isinstance(rows.tables["halt_acks"], pa.RecordBatch)


def test_halts_are_believed_or_kept_apart(tmp_path: Path) -> None:
    """Signed by a trusted key and under its own key it is a halt; forged, moved, changed or erased it is a letter with
    its bytes, whose reason says which. Heartbeats and verdicts likewise."""
    own, stranger = load_or_create(tmp_path / "own"), load_or_create(tmp_path / "stranger")
    trusted = load_trusted(tmp_path / "own")
    halt = Halt(
        action="halt", fleet="acme", vendor="v", product="p", version="1", rings=("*",), epoch=1, issued_at=NOW,
        expires_at=NOW + 1, decided_by="andon", policy="", reason="", evidence=None, kid="",
    )  # fmt: skip
    good, forged = encode_halt(own.sign(halt)), encode_halt(stranger.sign(halt))
    resumed, key = good.replace(b'"halt"', b'"resume"'), halt.key.encode()
    given = [(good, key), (forged, key), (resumed, key), (good, b"acme/v/p/2"), (b"{}", key), (None, key)]
    rows = record_rows(HALTS.name, [record(*each) for each in given], trusted)
    assert rows.tables["halts"].column("record").to_pylist() == [good]
    reasons = ["unknown_key", "bad_signature", "wrong_key", "unreadable_record", "erased_halt"]
    letters = rows.tables["dead_letters"].to_pylist()
    assert [letter["reason"] for letter in letters] == rows.refused == reasons
    assert [letter["value"] for letter in letters] == [forged, resumed, good, b"{}", b""]
    beat = FleetHeartbeat(fleet="acme", at=NOW, stream_time=NOW, live_updates=1, events=2, offset=3)
    words = [encode_verdict(one) for one in (own.sign_word(beat), beat, stranger.sign_word(beat))]
    rows = record_rows(VERDICTS.name, [record(word, beat.key.encode()) for word in words], trusted)
    assert rows.tables["heartbeats"].num_rows == 1
    assert rows.refused == ["bad_signature", "unknown_key"]


def test_a_version_that_looks_like_a_heartbeat_is_a_verdict() -> None:
    """Five parts are a verdict, however they end."""
    odd = replace(VERDICT, version="-", ring="heartbeat")
    rows = record_rows(VERDICTS.name, [record(encode_verdict(odd), odd.key.encode())])
    assert rows.tables["verdicts"].num_rows == 1


def test_an_alarm_is_a_row_of_its_own_and_no_verdict_forges_it() -> None:
    """By its key of three parts; a verdict that an endpoint's names bring near it stays a verdict."""
    said = FleetAlarm(
        fleet="acme", state="sounding", at=NOW, since=NOW - 60_000, crashed_hosts=152, usual=12.0, tolerated_rise=3.0,
        log10_evidence=9.0, threshold=6.2, signatures=(AlarmSignature("0x50", "csagent.sys", 140),),
        suspects=(Suspect("v/p/1", 90, 3.1),), flags=("no_history",),
    )  # fmt: skip
    rows = record_rows(VERDICTS.name, [record(encode_verdict(said), said.key.encode())])
    (row,) = rows.tables["alarms"].to_pylist()
    assert (row["fleet"], row["state"], row["over_at"], row["crashed_hosts"]) == ("acme", "sounding", None, 152)
    assert (row["signatures"], row["rings"], row["suspects"]) == (["0x50 / csagent.sys"], [], ["v/p/1"])
    assert row["rise"] == 152 / 12
    near = replace(VERDICT, vendor="-", product="alarm", version="x", doubted_for=("v/p/2",))
    found = record_rows(VERDICTS.name, [record(encode_verdict(near), near.key.encode())])
    assert found.tables["verdicts"].column("doubted_for").to_pylist() == [["v/p/2"]]
    forged = record_rows(VERDICTS.name, [record(encode_verdict(near), b"acme/-/alarm")])
    assert (list(forged.tables), forged.refused) == (["dead_letters"], ["unreadable_record"])
