"""`andon backtest --from-clickhouse`: stored events through the same path, compared with the halts that went out."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from support.engines import Database

from consumers.clickhouse.archive.events import EventRows
from pipeline.backtest.main import command
from pipeline.backtest.stored import Span, batches, differences, halts_then
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.wire.decode import decode_event

NOW = int(time.time() * 1000)
SINCE, UNTIL = datetime(2024, 7, 18, tzinfo=UTC), datetime(2024, 7, 21, tzinfo=UTC)
LINES = (
    b'{"v":1,"id":"b\\u202e\\"","kind":"boot","fleet":"acme","host":"h-1","ts":1721362000123,"ring":"r","os":"o","model":"m",'
    b'"region":"eu","site":"s","prior":"crash","prior_ended_at":1721361000000,"updates":[]}',
    b'{"v":1,"id":"c","kind":"crash","fleet":"acme","host":"h-1","ts":1721362000124,"ring":"r","os":"o","model":"m",'
    b'"signature":{"code":"0x50","module":"cs\\n.sys"},'
    b'"updates":[{"vendor":"v","product":"p","version":"1","installed_at":1721350000001}]}',
    b'{"v":1,"id":"h","kind":"heartbeat","fleet":"acme","host":"h-2","ts":1721361000000,"ring":"r","os":"o","model":"m",'
    b'"updates":[]}',
    b'{"v":1,"id":"n","kind":"boot","fleet":"acme","host":"h-2","ts":1721363000000,"ring":"r","os":"o","model":"m",'
    b'"prior":"clean","updates":[]}',
)


HALT = ["fleet", "vendor", "product", "version", "epoch", "action", "decided_by", "stream_time", "issued_at"]


def halt_row(update: list[Any], epoch: int, at: datetime, action: str = "halt") -> list[Any]:
    """A record of `halts`, as far as it is compared."""
    return [*update, epoch, action, "andon", None if action == "resume" else at, at]


def reader(database: Database) -> tuple[list[str], dict[str, str]]:
    """Options and environment of the reading user."""
    where = ["--clickhouse-url", database.server.url, "--clickhouse-user", "andon_read", "--database", database.name]
    return where, {"ANDON_CLICKHOUSE_PASSWORD": database.endpoint.read_password, "PATH": ""}


def andon(database: Database, *arguments: str) -> list[dict[str, object]]:
    """A backtest's lines, with the reading user."""
    where, environ = reader(database)
    argv = [sys.executable, "-m", "pipeline", "backtest", *arguments, "--json", *where]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(text) for text in done.stdout.splitlines()]


def test_events_come_back_as_they_were(database: Database) -> None:
    """Every kind, every field, hostile text; in the order of their arrival and not of their own time; each once."""
    client = database.client()
    stored = EventRows()(LINES, [NOW - (9 - place) * 86_400_000 for place in range(len(LINES))]).tables["events"]
    for _ in range(2):
        client.insert_arrow("events", pa.Table.from_batches([stored]))
    got = [raw for batch in batches(client, Span(SINCE, UNTIL), lambda _: None) for raw in batch]
    assert [decode_event(raw) for raw in got] == [decode_event(raw) for raw in LINES]
    with pytest.raises(AndonError, match="fleet 'acmé' is unknown: ClickHouse has acme; did you mean acme"):
        list(batches(client, Span(SINCE, UNTIL, "acmé"), lambda _: None))
    where, environ = reader(database)
    words = ["--from-clickhouse", "--since", "2030-01-01", "--fleet", "acme", *where]
    nothing = CliRunner().invoke(command, words, env=environ)
    assert isinstance(nothing.exception, AndonError)
    assert "no event of fleet 'acme' from 2030-01-01" in str(nothing.exception)
    assert nothing.output == ""


def test_the_same_answer_as_from_a_file_and_what_differs(database: Database, tmp_path: Path) -> None:
    """A night's file stored: the same halts from ClickHouse; then compared with halts that went out then."""
    path = tmp_path / "night.ndjson"
    replay = [
        sys.executable,
        "-m",
        "pipeline",
        "replay",
        "crowdstrike-2024-07-19",
        "--hosts",
        "4000",
        "--out",
        str(path),
    ]
    subprocess.run(replay, check=True, capture_output=True, timeout=300)
    raw = path.read_bytes().splitlines()
    client = database.client()
    rows = EventRows()
    for start in range(0, len(raw), 50_000):
        part = raw[start : start + 50_000]
        sent = [1_800_000_000_000 + start + place for place in range(len(part))]
        client.insert_arrow("events", pa.Table.from_batches([rows(part, sent).tables["events"]]))
    (halt,) = [said for said in andon(database, str(path)) if said["type"] == "halt"]
    span = ("--from-clickhouse", "--since", "2024-07-18", "--until", "2024-07-21")
    first = andon(database, *span)
    (stored,) = [said for said in first if said["type"] == "halt"]
    figures = ("version", "at", "crashed_hosts", "observed", "explanation")  # evidence: to where the blocks are cut
    assert [stored[name] for name in figures] == [halt[name] for name in figures]
    assert stored["log10_evidence"] == pytest.approx(halt["log10_evidence"], abs=0.05)
    (found,) = [said for said in first if said["type"] == "difference"]
    assert (found["version"], found["what"], found["now_ms"]) == (halt["version"], "new", halt["at"])
    then = datetime.fromtimestamp(int(str(halt["at"])) / 1000 + 90, UTC)
    update = ["acme", halt["vendor"], halt["product"], halt["version"]]
    client.insert("halts", [halt_row(update, 1, then), halt_row([*update[:3], "never"], 1, then)], column_names=HALT)
    policy = tmp_path / "shadow.toml"
    policy.write_text('[default]\nmode = "shadow"\n', "utf-8")
    said = {str(one["version"]): one for one in andon(database, *span) if one["type"] == "difference"}
    assert (said["never"]["what"], said[str(halt["version"])]["what"]) == ("missing", "earlier")
    assert said[str(halt["version"])]["seconds"] == -90
    shadow = [one for one in andon(database, *span, "--policy", str(policy)) if one["type"] == "difference"]
    assert [one["what"] for one in shadow] == ["missing", "missing"]
    before = datetime(2024, 7, 17, tzinfo=UTC)
    client.command("TRUNCATE TABLE halts")
    client.insert("halts", [halt_row(update, 1, before), halt_row([*update[:3], "old"], 1, before)], column_names=HALT)
    (standing,) = [one for one in andon(database, *span) if one["type"] == "difference"]
    assert (standing["version"], standing["what"], standing["seconds"]) == (halt["version"], "standing", None)
    assert standing["then_ms"] == before.timestamp() * 1000


def test_a_halt_stands_until_it_is_resumed(database: Database) -> None:
    """Halts of any time before the end, the first of each update; renewals and other fleets' change nothing, what was
    resumed before the span did not stand in it, and what was resumed and halted again within it was halted in it."""
    client = database.client()
    ours, lifted, theirs = ["f", "v", "p", "ours"], ["f", "v", "p", "lifted"], ["g", "v", "p", "theirs"]
    moments = [SINCE + timedelta(days=days) for days in (-30, -20, -10, 1, 30)]
    rows = [halt_row(ours, 1, moments[0]), halt_row(ours, 1, moments[3]), halt_row(theirs, 1, moments[0])]
    rows += [halt_row(lifted, 1, moments[0]), halt_row(lifted, 2, moments[1], "resume"), halt_row(ours, 2, moments[4])]
    client.insert("halts", rows, column_names=HALT)
    span = Span(SINCE, UNTIL, "f")
    assert halts_then(client, span) == {tuple(ours): moments[0].timestamp() * 1000}
    client.insert("halts", [halt_row(lifted, 3, moments[3])], column_names=HALT)
    assert halts_then(client, span)[("f", "v", "p", "lifted")] == moments[3].timestamp() * 1000
    twice = ["f", "v", "p", "twice"]
    rows = [halt_row(twice, 1, moments[0]), halt_row(twice, 2, SINCE, "resume"), halt_row(twice, 3, moments[3])]
    client.insert("halts", rows, column_names=HALT)
    then = halts_then(client, span)
    missing = {one.key: one.then_ms for one in differences(then, [], span.since_ms) if one.what == "missing"}
    assert missing[("f", "v", "p", "twice")] == moments[3].timestamp() * 1000


@pytest.mark.parametrize("until", ["2024-07-19", "2024-07-20"])
def test_a_span_that_ends_before_it_begins_is_refused(until: str) -> None:
    """It would find nothing and call that a good policy."""
    refused = CliRunner().invoke(command, ["--from-clickhouse", "--since", "2024-07-20", "--until", until])
    assert isinstance(refused.exception, ConfigError)
    assert "is not after --since" in str(refused.exception)


def test_differences_without_any() -> None:
    """Nothing then and nothing now is nothing."""
    assert differences({}, [], 0) == []
