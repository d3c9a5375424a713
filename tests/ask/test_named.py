"""docs/analysts.md: every query runs on the schema as shipped and finds what is there; `andon query` prints it."""

import io
import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as parquet
import pytest
from clickhouse_connect.driver.client import Client
from support.clickhouse_data import command
from support.engines import Database

from consumers.clickhouse.ask.named import queries
from consumers.clickhouse.connect import connect
from pipeline.halts.stored import Asking

PAGE = (Path(__file__).parents[2] / "docs" / "analysts.md").read_text("utf-8")
HOSTILE = "x\x1b[2J\u202e<b>'; DROP"
NOW = datetime.now(UTC).replace(microsecond=0)
UPDATE = {"vendor": "crowdstrike", "product": "content", "version": "291"}
PARAMETERS = {"fleet": "acme", "host": "h-0"} | UPDATE
OF_UPDATE = ("-p", "fleet=acme", *(f"-p{name}={value}" for name, value in UPDATE.items()))
LISTS = ["updates.vendor", "updates.product", "updates.version", "updates.installed_at"]
NAMES = ["fleet", "host", "kind", "ts", "ingested_at", "ring", "model", "signature_code", "signature_module", "id"]


def row(number: int) -> list[Any]:
    """Hosts 0 to 3 have the update and 0 and 1 crash; 4 to 9 have another update."""
    with_it = [["crowdstrike", "os"], ["content", "kb"], ["291", "5"], [NOW - timedelta(hours=1)] * 2]
    without = [["os"], ["kb"], ["5"], [NOW - timedelta(hours=2)]]
    crash = ["crash", "0x50", HOSTILE] if number < 2 else ["heartbeat", "", ""]
    ts = NOW - timedelta(minutes=10 - number)
    came = ts + timedelta(seconds=1)
    place = ["canary" if number % 2 else "broad", "latitude"]
    kind, code, module = crash
    updates = with_it if number < 4 else without
    return ["acme", f"h-{number}", kind, ts, came, *place, code, module, f"id-{number}", *updates]


@pytest.fixture(scope="module")
def stored(module_database: Database) -> Database:
    """Ten hosts, a halt with its acknowledgement and renewal, a verdict, an alarm and a dead letter."""
    client = module_database.client()
    client.insert("events", [row(number) for number in range(10)], column_names=[*NAMES, *LISTS])
    update, key = ["acme", "crowdstrike", "content", "291"], ["fleet", "vendor", "product", "version"]
    verdict = [*update, "broad", NOW, "halted", 7.0, 6.0, ["doubtful"], ["v/p/2"]]
    names = [*key, "ring", "at", "state", "log10_evidence", "threshold", "flags", "doubted_for"]
    client.insert("verdicts", [verdict], column_names=names)
    alarm = ["acme", NOW, NOW, "sounding", 152, 12.0]
    client.insert("alarms", [alarm], column_names=["fleet", "at", "since", "state", "crashed_hosts", "usual"])
    decided = NOW - timedelta(minutes=5)
    halts = [[*update, 1, "halt", NOW + timedelta(minutes=n), decided, ["*"], 2, f"because {HOSTILE}"] for n in (0, 30)]
    names = [*key, "epoch", "action", "issued_at", "stream_time", "rings", "crashed_hosts", "reason"]
    client.insert("halts", halts, column_names=names)
    ack = ["acme/crowdstrike/content/291", 1, "sccm", "confirmed", NOW + timedelta(seconds=3)]
    client.insert("halt_acks", [ack], column_names=["halt_key", "epoch", "subscriber", "status", "at"])
    letter = ["invalid_json", "combine", NOW, HOSTILE]
    client.insert("dead_letters", [letter], column_names=["reason", "stage", "at", "detail"])
    return module_database


@pytest.fixture
def client(stored: Database) -> Client:
    """A client."""
    return stored.client()


@pytest.fixture
def reader(stored: Database) -> Client:
    """A client of the user who may only read."""
    account = {"user": "andon_read", "password": stored.endpoint.read_password}
    return connect(msgspec.structs.replace(stored.server, **account), database=stored.name)


def ask(stored: Database, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """`andon query` as an analyst runs it, with the reading user."""
    argv, environ = command(stored, "query", *arguments, reads=True)
    return subprocess.run(argv, env=environ, capture_output=True, timeout=180, check=False)


def test_every_block_has_a_name() -> None:
    """No SQL stands on the page that this test does not run."""
    assert len(re.findall("^```sql", PAGE, re.MULTILINE)) == len(queries())
    assert {name for query in queries().values() for name in query.parameters} <= set(PARAMETERS)


@pytest.mark.parametrize("name", queries())
def test_queries_of_the_guide_find_what_is_there(reader: Client, name: str) -> None:
    """Each query runs and answers whoever may read, with every number a number; about an update, and not another's of
    that version; and it begins with a sentence."""
    query = queries()[name]
    assert query.sql.startswith(f"-- {query.about}\n")
    assert query.about.endswith(".")
    given = {parameter: PARAMETERS[parameter] for parameter in query.parameters}
    answer = reader.query(query.sql, parameters=given)
    assert answer.result_rows
    assert not any(value != value for row in answer.result_rows for value in row)
    for other in UPDATE if "version" in given else ():
        assert not reader.query(query.sql, parameters=given | {other: "other"}).result_rows


def test_a_halt_whose_record_was_disturbed_is_unknown(client: Client) -> None:
    """A tombstone or a record that nobody trusted signed, later than the newest of its key: whether the halt still
    stands is not known; an earlier one changes nothing, and a resume stays one."""
    names = ["fleet", "vendor", "product", "version", "epoch", "action", "issued_at", "expires_at"]
    later, ends = NOW + timedelta(minutes=1), NOW + timedelta(days=1)
    rows = [["beta", "v/x", "p", version, 1, "halt", NOW, ends] for version in ("1", "2", "3")]
    client.insert("halts", [*rows, ["beta", "v/x", "p", "3", 2, "resume", NOW, ends]], column_names=names)
    letters = [
        ["erased_halt", "archive", "andon.fleet.halts", later, "beta/v%2Fx/p/1"],
        ["unknown_key", "archive", "andon.fleet.halts", NOW - timedelta(minutes=1), "beta/v%2Fx/p/2"],
    ]
    client.insert("dead_letters", letters, column_names=["reason", "stage", "topic", "at", "key"])
    found = client.query(queries()["halts"].sql, parameters={"fleet": "beta"}).named_results()
    assert {row["version"]: row["standing"] for row in found} == {"1": "unknown", "2": "in force", "3": "resumed"}


def test_every_order_has_its_own_row(client: Client) -> None:
    """Andon's halt, a resume and a person's halt: each with its own time, name and reason, whatever was renewed; only
    Andon's was decided by a crash."""
    names = ["fleet", "vendor", "product", "version", "epoch", "action", "issued_at", "stream_time", "expires_at"]
    at = [NOW + timedelta(minutes=n) for n in range(40)]
    said = [
        (1, "halt", 0, "andon", "5 hosts crashed"),
        (1, "halt", 1, "andon", "5 hosts crashed"),
        (4, "resume", 2, "operator:ann, operator:bob", "fixed"),
        (5, "halt", 3, "operator:ann", "not fixed"),
        (5, "halt", 30, "operator:ann", "not fixed"),
    ]
    update = ["gamma", "v", "p", "1"]
    rows = [[*update, epoch, action, at[n], NOW, at[n] + timedelta(days=1), *who] for epoch, action, n, *who in said]
    client.insert("halts", rows, column_names=[*names, "decided_by", "reason"])
    found = list(client.query(queries()["halts"].sql, parameters={"fleet": "gamma"}).named_results())
    facts = ("epoch", "action", "decided_by", "reason", "standing")
    assert [tuple(row[name] for name in facts) for row in found] == [
        (1, "halt", "andon", "5 hosts crashed", "superseded"),
        (4, "resume", "operator:ann, operator:bob", "fixed", "superseded"),
        (5, "halt", "operator:ann", "not fixed", "in force"),
    ]
    assert [row["first_issued_at"].replace(tzinfo=UTC) for row in found] == [at[0], at[2], at[3]]
    (now,) = client.query("SELECT * FROM halts_now WHERE fleet = 'gamma'").named_results()
    assert (now["epoch"], now["first_issued_at"].replace(tzinfo=UTC), now["reason"]) == (5, at[3], "not fixed")
    took = client.query(queries()["time-to-halt"].sql, parameters={"fleet": "gamma"}).named_results()
    assert [(row["epoch"], row["seconds_decision_to_halt"]) for row in took] == [(1, "0"), (5, "ordered")]


def test_what_the_screen_of_a_halt_asks(stored: Database) -> None:
    """Models, signatures, silent hosts and how far the archive has come: all in one go."""
    server = msgspec.structs.replace(stored.server, database=stored.name)
    found = Asking(server, "acme/crowdstrike/content/291").start().wait()
    assert (found.why_not, found.silent_why_not) == ("", "")
    assert found.models == [("latitude", 2, 4)]
    assert found.silent is not None
    assert found.heard_until == round((NOW - timedelta(minutes=1)).timestamp() * 1000)
    nobody = Asking(server, "acme/crowdstrike/content/9").start().wait()
    assert (nobody.silent, "newer updates only" in nobody.silent_why_not) == (None, True)


def test_the_numbers_are_right(client: Client) -> None:
    """Two of four hosts with the update crashed: the views say so, with Wilson's limits to four digits."""

    def first(view: str, where: str = "true") -> dict[str, Any]:
        sql = f"SELECT * FROM {view} WHERE fleet = 'acme' AND {where}"
        return next(iter(client.query(sql).named_results()))

    rate = first("crash_rate_by_update", "version = '291'")
    assert (rate["hosts"], rate["crashed_hosts"], rate["crash_rate"]) == (4, 2, 0.5)
    assert (round(rate["crash_rate_low"], 4), round(rate["crash_rate_high"], 4)) == (0.15, 0.85)
    halted = first("time_to_halt")
    assert halted["seconds_release_to_decision"] == 55 * 60
    assert (halted["seconds_decision_to_halt"], halted["seconds_halt_to_stopped"]) == (300, 3)
    obeyed = first("obedience")
    assert (obeyed["subscriber"], obeyed["status"], obeyed["seconds_to_confirmed"]) == ("sccm", "confirmed", 3)
    assert obeyed["seconds_to_effective"] is None
    spared = first("machines_spared")
    counted = (spared["hosts_with_it"], spared["hosts_without_it"], spared["silent_hosts"])  # none reported after it
    assert (*counted, spared["proof"], spared["spared_low"]) == (4, 0, 6, "acknowledged", 0)
    pair = first("update_pairs")
    assert (pair["hosts_both"], pair["hosts_only_a"], pair["hosts_only_b"], pair["overlap"]) == (4, 0, 6, 0.4)
    sql = "SELECT sum(hosts), sum(crash_free_hosts) FROM crash_free_hosts WHERE fleet = 'acme' AND day = today()"
    free = client.query(sql).first_row
    assert free in ((10, 8), (0, 0)) or NOW.hour == 0
    assert first("new_signatures")["newest_update_there"] == "crowdstrike/content/291"


def report(host: str, ts: datetime, at: datetime | None = None, **facts: Any) -> dict[str, Any]:
    """A heartbeat, or what `facts` say, of a host that had the update of the guide installed then, or never."""
    lists = {f"updates.{part}": [value] if at else [] for part, value in UPDATE.items()}
    row = {"host": host, "kind": "heartbeat", "prior": "", "prior_ended_at": None, "ts": ts, "ingested_at": NOW}
    return row | {"model": "m", "id": f"{host} {ts}"} | lists | {"updates.installed_at": [at] if at else []} | facts


def store(client: Client, table: str, fleet: str, rows: list[dict[str, Any]]) -> None:
    """Rows of a fleet of their own."""
    client.insert(table, [[fleet, *row.values()] for row in rows], column_names=["fleet", *rows[0]])


def test_without_an_update_is_before_it_on_the_same_days(client: Client) -> None:
    """Neither an old crash, nor one of the same day before the installation, is one with the update; nor is a host
    without it because it does not list it any more; and once the first reports with it expire, nobody can tell."""
    at = (NOW - timedelta(days=10)).replace(hour=12, minute=0, second=0)
    hour, week, crash = timedelta(hours=1), timedelta(days=7), {"kind": "crash"}
    rows = [report(f"h-{n}", at - timedelta(days=50), **crash) for n in range(20)]
    rows += [report(f"h-{n}", at + hour, at) for n in range(20)]
    rows += [report("h-0", at + 2 * hour, at, **crash)]
    rows += [report("early", at - hour, **crash), report("early", at + hour, at)]
    rows += [report("later", at + hour, at, kind="boot", prior="crash", prior_ended_at=at - hour)]
    rows += [report("never", at, **crash), report("calm", at), report("else", at, model="other", **crash)]
    rows += [report("undated", at, kind="boot", prior="crash")]
    rows += [report("h-1", at + week, at), report("h-2", at + week, **crash)]
    store(client, "events", "apart", rows)
    answer = client.query(queries()["with-and-without"].sql, parameters=UPDATE | {"fleet": "apart"})
    (found,) = answer.result_rows
    assert found == ("m", 23, 1, 4, 3, 23, 1, 4, 3, 1 / 23 - 3 / 4)
    ago = timedelta(days=90)
    store(client, "events", "apart", [report("first", at - ago, at - ago, ingested_at=NOW - ago)])
    assert not client.query(queries()["with-and-without"].sql, parameters=UPDATE | {"fleet": "apart"}).result_rows


def test_a_host_has_an_update_once_and_when_it_is_installed(client: Client) -> None:
    """An update that is listed twice is one, and one whose installation lies ahead is none."""
    at, ahead = NOW - timedelta(hours=1), NOW + timedelta(hours=1)

    def listing(host: str, *listed: tuple[str, datetime]) -> dict[str, Any]:
        names, moments = map(list, zip(*listed, strict=True))
        rest = {f"updates.{part}": ["x"] * len(listed) for part in ("vendor", "product")}
        return report(host, NOW, **rest, **{"updates.version": names, "updates.installed_at": moments})

    rows = [listing(f"twice-{n}", ("a", at), ("b", at), ("a", at)) for n in range(3)]
    rows += [listing("ahead", ("a", at), ("b", ahead), ("c", ahead))]
    store(client, "events", "pairs", rows)
    found = client.query("SELECT * FROM update_pairs WHERE fleet = 'pairs'").result_rows
    assert found == [("pairs", "x/x/a", "x/x/b", 3, 1, 0, 0.75)]


def cells(shown: bytes) -> list[dict[str, str]]:
    """Rows of a printed table, cell by cell; columns stand where the rule is."""
    header, rule, *rows = [line for line in shown.decode().splitlines() if line.strip()][:-1]
    assert set(rule) <= {" ", "─"}
    names = re.split(r"\s{3,}", header.strip())
    return [dict(zip(names, re.split(r"\s{3,}", row.strip()), strict=True)) for row in rows]


def test_tables_show_times_as_times_and_enums_by_name(stored: Database) -> None:
    """What the queries of the guide print: hours, minutes and moments as UTC, kinds by name, one cell per column."""
    hour = NOW.replace(minute=0, second=0)
    exposed = ask(stored, "exposure-by-hour", *OF_UPDATE)
    (shown_hour,) = cells(exposed.stdout)
    assert shown_hour["hour"] == f"{hour - timedelta(hours=1):%Y-%m-%d %H:%M:%S}"  # of the installation
    assert (shown_hour["hosts"], shown_hour["hosts_so_far"]) == ("4", "4")
    events = ask(stored, "host-events", "-p", "fleet=acme", "-p", "host=h-0").stdout.decode()
    (event,) = (row.split() for row in events.splitlines() if "0x50" in row)
    at = f"{NOW - timedelta(minutes=10):%Y-%m-%d %H:%M:%S}.000"
    assert event[:4] == [*at.split(), "crash", "0x50"]  # `prior` is "" but for boots
    assert event[-2:] == ["[291,", "5]"]
    sql = (
        "-- a comment first, WITH TOTALS\nSELECT kind, host, kind, minute, map('a', 1, 'b', NULL) AS m, (1, 'x') AS t, "
        "CAST((1, [0.5]), 'Tuple(n UInt8, l Array(Float64))') AS named, toDecimal64(2.500001, 6) AS d, "
        'unhex(\'ff41\') AS raw, toFloat64(3) AS three, nan AS "none with totals", 1 AS `1" with totals` '
        "FROM (SELECT kind, host, toStartOfMinute(toDateTime({at:UInt32}, 'UTC')) AS minute FROM events "
        "WHERE host = 'h-9' AND kind = 'heartbeat' AND host != 'with totals')"
    )
    shown = ask(stored, sql, "-p", f"at={int(hour.timestamp()) + 61}").stdout.decode().splitlines()
    got = next(row for row in shown if "h-9" in row)
    minute = f"{hour + timedelta(minutes=1):%Y-%m-%d %H:%M:%S}"
    expected = ["heartbeat", "h-9", "heartbeat", minute, "{a: 1, b: }", "(1, x)", "{n: 1, l: [0.5]}", "2.500001"]
    assert re.split(r"\s{3,}", got.strip()) == [*expected, "\\xffA", "3", "nan", "1"]


def test_files_have_times_and_names_too(stored: Database) -> None:
    """CSV and JSON as text, Parquet as timestamps and strings; equal names are refused where names tell columns."""
    given = ("host-events", "-p", "fleet=acme", "-p", "host=h-0", "--format")
    at = f"{NOW - timedelta(minutes=10):%Y-%m-%d %H:%M:%S}.000"
    header, row = ask(stored, *given, "csv").stdout.decode().splitlines()
    assert header.startswith('"ts","kind","prior",')
    assert row.startswith(f'"{at}","crash","",')
    (found,) = json.loads(ask(stored, *given, "json").stdout)["data"]
    assert (found["ts"], found["kind"], found["prior"]) == (at, "crash", "")
    table = parquet.read_table(io.BytesIO(ask(stored, *given, "parquet").stdout))
    (event,) = table.to_pylist()
    assert (event["ts"], event["kind"]) == (NOW - timedelta(minutes=10), "crash")
    exposure = ("exposure-by-hour", *OF_UPDATE, "--format", "parquet")
    hours = parquet.read_table(io.BytesIO(ask(stored, *exposure).stdout))["hour"]
    assert all(value.as_py().minute == 0 and value.as_py().date() >= NOW.date() - timedelta(1) for value in hours)
    for form in ("json", "parquet"):
        refused = ask(stored, "SELECT kind, host, kind FROM events", "--format", form)
        assert (refused.returncode, refused.stdout) == (2, b"")
        assert b"more than one is kind" in refused.stderr


def test_long_answers_are_csv(stored: Database) -> None:
    """Seventy megabytes come as a stream, with their header; where they would be made whole, the error says so."""
    sql = "SELECT number AS n, repeat(toString(number % 10), 1000) AS `a name` FROM numbers(70000)"
    shown = ask(stored, sql, "--format", "csv")
    assert shown.returncode == 0, shown.stderr
    header, first, *_ = shown.stdout.split(b"\n", 2)
    assert (header, first[:6], shown.stdout.count(b"\n")) == (b'"n","a name"', b'0,"000', 70_001)
    refused = ask(stored, sql, "--format", "json")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"--format csv has no such limit" in refused.stderr


def test_formats_and_hostile_text(stored: Database) -> None:
    """A table escapes what could drive a terminal; CSV, JSON and Parquet give it as it is."""
    shown = ask(stored, "crashes", "--param", "fleet=acme")
    assert shown.returncode == 0, shown.stderr
    assert b"\x1b" not in shown.stdout
    assert "\u202e" not in shown.stdout.decode()
    assert "x\\x1b[2J\\u202e<b>'; DROP" in shown.stdout.decode()
    as_json = ask(stored, "crashes", "--param", "fleet=acme", "--format", "json")
    assert {row["signature_module"] for row in json.loads(as_json.stdout)["data"]} == {HOSTILE}
    table = parquet.read_table(io.BytesIO(ask(stored, "crashes", "-p", "fleet=acme", "--format", "parquet").stdout))
    assert table.num_rows == 2
    sql = "SELECT version, hosts FROM crash_rate_by_update WHERE fleet = 'acme' ORDER BY version"
    as_csv = ask(stored, sql, "--format", "csv")
    assert as_csv.stdout.decode() == '"version","hosts"\n"291",4\n"5",10\n'
    assert ask(stored).stdout == ask(stored, "--list").stdout


def test_free_sql_about_a_name_that_nobody_knows_says_so(stored: Database) -> None:
    """A zero of a fleet, an update, a ring or a host that is misspelt is no good news: a note beside it says so; none
    about what is known, or stands in a comment."""
    events, updates = "SELECT count() FROM events WHERE ", "SELECT count() FROM update_days WHERE "
    for sql, words in (
        (events + "fleet = 'acmee'", "note: fleet 'acmee' is unknown: ClickHouse has acme"),
        (updates + "`version` IN ('291', '29l') AND fleet='acme'", "note: version '29l' is unknown: ClickHouse"),
        (events + "ring == 'Canary'", "note: ring 'Canary' is unknown: ClickHouse has broad, canary"),
        (events + "fleet = {fleet:String} AND host = 'h-00'", "note: host 'h-00' is unknown; did you mean h-0"),
        (events + "fleet = 'acme' AND host = 'h-0' -- fleet = 'nosuch'", ""),
        (events + "signature_module = 'fleet = x'", ""),
    ):
        given = ["-p", "fleet=acme"] if "{" in sql else []
        done = ask(stored, sql, "--format", "json", *given)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["data"]) == 1
        said = done.stderr.decode()
        assert said.startswith(words), said
        assert said.count("note:") == bool(words)


def test_every_table_is_named_with_a_sentence(stored: Database, reader: Client) -> None:
    """What `SHOW TABLES` shows is in the list, but for what is internal, which the list leaves out."""
    listed = dict(reader.query(queries()["tables"].sql).result_rows)
    seen = {row[0] for row in reader.query("SHOW TABLES").result_rows}
    internal = seen - listed.keys()
    assert {name for name in internal if not name.endswith("_feed")} == {"schema_migrations", "schema_objects"}
    assert listed.keys() <= seen
    assert all(len(sentence) > 10 for sentence in listed.values())
    assert ask(stored, "tables").returncode == 0


def test_what_is_refused(stored: Database) -> None:
    """Missing parameters, unknown names, writes and slow queries: one line of reason, no traceback."""
    for arguments, code, words in (
        (["rates"], 2, "--param fleet=…"),
        (["no-such-name"], 2, "no query is named"),
        (["rates", "--param", "fleet"], 2, "should be NAME=VALUE"),
        (["TRUNCATE TABLE events"], 1, "TRUNCATE is not for this user. (ACCESS_DENIED)\n"),
        (["SELECT 1", "--clickhouse-url", "http://127.0.0.1:1"], 1, "Connection refused; of a local line"),
        (["SELECT 1 FORM 2 THE"], 1, "Syntax error: failed at position"),
        (
            ["rates", "-pflet=acme"],
            2,
            "--param flet=…: rates has no such parameter; it takes fleet; did you",
        ),
        (
            ["SELECT {fleet:String}", "-pfleet=acme", "-pflet=b"],
            2,
            "the SQL has no such parameter; it takes fleet;",
        ),
        (["rate", "--param", "fleet=acme"], 2, "did you mean rates"),
        (["rates", "-p", "fleet=acmee"], 1, "fleet 'acmee' is unknown: ClickHouse has acme"),
        (["spared", "-p", f"fleet={HOSTILE}", "--format", "csv"], 1, "is unknown: ClickHouse has acme"),
        (["host", "-p", "fleet=acme", "-p", "host=h-00"], 1, "host 'h-00' is unknown; did you mean h-0"),
        (
            ["evidence", *OF_UPDATE[:-1], "-pversion=29"],
            1,
            "version '29' of content is unknown: ClickHouse has 291; did you mean 291?",
        ),
        (["SELECT sum(sipHash64(number)) FROM numbers(1000000000000)", "--timeout", "1"], 1, "TIMEOUT"),
        (["SELECT {fleet:UInt8}", "--param", f"fleet={HOSTILE}"], 1, "fleet"),
        (["SELECT 1 FORMAT CSV;"], 2, "no FORMAT in the SQL: say --format"),
        (
            ["SELECT 1 AS \"'\" GROUP BY 1 WITH\nTOTALS -- '"],
            2,
            "--format table has no place for what WITH",
        ),
        (["--no-such-option"], 2, "No such option"),
    ):
        done = ask(stored, *arguments)
        assert done.returncode == code, done.stderr
        assert words in done.stderr.decode()
        assert b"Traceback" not in done.stderr
        assert b"\x1b" not in done.stderr
