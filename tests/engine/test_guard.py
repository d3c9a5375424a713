"""What limited accounts may name in a statement: as text, and against the engine's own lexer, names and settings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import given
from hypothesis import strategies as st
from support.clickhouse import LocalClickHouse
from support.engines import clickhouse_in

from consumers.clickhouse.ask.named import queries
from consumers.clickhouse.connect import ClickHouseConfig, connect
from pipeline.local.clickhouse.guard import Guard
from pipeline.local.clickhouse.statement import StatementError, inspect

NAMES = {
    "functions": ["AIGenerate"],
    "table_functions": ["url", "eval", "numbers", "python"],
    "formats": ["Template", "Values", "JSON", "Protobuf"],
    "settings": ["max_threads", "format_schema", "format_template_row", "select", "filter", "additional_table_filters"],
}
GUARD = Guard.of(lambda sql: next(names for table, names in NAMES.items() if f"system.{table}" in sql))
# Each of these ran, and gave away a file's content, before there was a guard.
ATTACKS = (
    "SELECT file('PATH')",
    "SELECT file/**/('PATH')",
    "SELECT `file`('PATH')",
    "SELECT \"file\"('PATH')",
    "SELECT \u201cfile\u201d('PATH')",
    "SELECT `f\\x69le`('PATH')",
    "SELECT `f\\\nile`('PATH')",
    "SELECT arrayMap(file, ['PATH'])",
    "SELECT arrayMap(x -> file(x), ['PATH'])",
    "SELECT * APPLY(file) FROM (SELECT 'PATH')",
    "SELECT * REPLACE(file('PATH') AS dummy) FROM system.one",
    "EXPLAIN SELECT file('PATH')",
    "WITH 'PATH' AS x SELECT file(x)",
    "SELECT 1 // it's\n, file('PATH') -- '",
    "SELECT 1 #! it's\n, file('PATH') -- '",
    "SELECT $ $ ' $ $, file('PATH') -- '",
    "SELECT 1 AS a$$, file('PATH') -- $$",
    "SELECT 1e--file('PATH')",
    "SELECT * FROM eval(concat('SELECT fi','le(''PATH'')')) SETTINGS allow_experimental_eval_table_function = 1",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = 'PATH'",
    "SELECT 1 FORMAT `template` SETTINGS `format_template_row` = 'PATH'",
    "SELECT 1 FORMAT Template SETTINGS format_template_resultset = 'PATH'",
    "SELECT 1 SETTINGS select = 'fi\\x6ce(''PATH'')'",
    "SELECT 1 AS a SETTINGS filter = 'throwIf(1, file(''PATH''))'",
    "SELECT * FROM system.one SETTINGS additional_table_filters = {'system.one': 'throwIf(1, file(''PATH''))'}",
    "SELECT * FROM (SELECT 1 SETTINGS max_threads = 1) SETTINGS profile = 'default'",
    "SELECT * FROM url('http://127.0.0.1:1/')",
    "SELECT * FROM python(x)",
    # Comments nest: what a lexer that does not know it takes for a quoted name.
    "SELECT 0 /* /* */ \" */ , file('PATH') /* \" */",
    "SELECT 0 /* /* */ \" */ ; SET ROLE ALL; SELECT file('PATH') /* \" */",
    "SELECT 0 /* /* */ \" */ INTO OUTFILE 'PATH' FORMAT TSVRaw /* \" */",
    "SELECT 0 /* /* */ \" */ FORMAT Template SETTINGS format_template_row = 'PATH' /* \" */",
    "SELECT /* a /* b */ '*/ 1, file(''PATH'') -- ' */, file('PATH')",
)
WRITES = (
    "INSERT INTO andon.heartbeats (offset) SELECT toInt64(file('PATH'))",
    "INSERT INTO andon.heartbeats (fleet) VALUES ('x'), (throwIf(1, file('PATH')))",
    "INSERT INTO andon.heartbeats (fleet) FORMAT Values (throwIf(1, file('PATH')))",
    "INSERT INTO andon.heartbeats (offset) SELECT AIGenerate('x')",
    "INSERT INTO andon.heartbeats (fleet) VALUES /* /* */ \" */ ('x', file('PATH')) /* \" */",
)
HARMLESS = (
    "SELECT 'file(''/etc/passwd'')', 'eval', \"file_name\", profile, files FROM t -- file()",
    "SELECT /* file('x'), it's */ count() FROM andon.events WHERE kind = 'file'",
    "SELECT a.url, url, if(a > 1e-5, format('{}', x), 'it\\'s') FROM t WHERE selected = {x:String} FORMAT JSON",
    "SELECT database, settings FROM system.tables WHERE database = 'andon' SETTINGS max_threads = 1, limit = 3",
    "SELECT * FROM numbers(3) WHERE number % 2 = 1 ORDER BY 1\n--last word",
    "SELECT 1 AS `\u540d`, 'Template' AS format",
)


def allowed(sql: str) -> bool:
    """By the guard, of what is run."""
    try:
        GUARD.check(inspect(sql.encode()).sql)
    except StatementError:
        return False
    return True


@pytest.mark.parametrize("sql", [*ATTACKS, *WRITES])
def test_what_reaches_out_is_refused(sql: str) -> None:
    """In every disguise that the engine sees through."""
    if "FORMAT Values" in sql:
        with pytest.raises(StatementError, match="'Values' is a format that"):
            GUARD.check_format("Values")
    else:
        assert not allowed(sql), sql


@pytest.mark.parametrize("sql", HARMLESS)
def test_words_in_strings_and_comments_pass(sql: str) -> None:
    """Data may say anything, and so may names that only resemble."""
    assert allowed(sql)


def test_the_refusal_says_which_token_and_why() -> None:
    """So that who asks can write it otherwise."""
    with pytest.raises(StatementError, match="Refused before it ran: 'file' reaches out of the engine"):
        GUARD.check(b"SELECT file('x')")
    with pytest.raises(StatementError, match="'format_schema' is not a setting that this user may change"):
        GUARD.check_settings(["max_threads", "format_schema"])
    with pytest.raises(StatementError, match="'additional_table_filters' is a setting"):
        GUARD.check(b"SELECT 1 SETTINGS additional_table_filters = {}")


def test_the_guide_passes() -> None:
    """Each query of the analysts' guide."""
    guide = queries()
    assert guide
    assert [name for name, query in guide.items() if not allowed(query.sql)] == []


@given(st.text())
def test_any_string_is_data(text: str) -> None:
    """Quoted as SQL quotes it, no text is refused and none hides what follows."""
    quoted = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    assert allowed(f"SELECT {quoted}, length({quoted})")
    assert not allowed(f"SELECT {quoted}, file({quoted})")
    doubled = "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
    assert not allowed(f"SELECT {doubled}, file({doubled})")


# A value that is none is refused as such, before it is asked whether it may be set.
OTHER = {
    "additional_table_filters": "{\\'a\\': \\'b\\'}",
    "allow_experimental_eval_table_function": "1",
    "allow_python_table_function": "0",
    "dialect": "prql",
}
OTHER |= {"format_schema_source": "string"}


@pytest.fixture(scope="module")
def line(schema: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClickHouse]:
    """The endpoint."""
    with clickhouse_in(tmp_path_factory.mktemp("guard"), schema) as running:
        yield running


@pytest.fixture(scope="module")
def client(line: LocalClickHouse) -> Client:
    """The owner, whom nothing is refused before it runs."""
    return line.client()


def as_user(line: LocalClickHouse, user: str, password: str) -> Client:
    """A client of a limited account."""
    server = ClickHouseConfig(line.server.url, user=user, password=password)
    return connect(server, database="andon")


def test_attacks_against_the_engine(line: LocalClickHouse, tmp_path: Path) -> None:
    """Readers, Grafana and the writer get nothing of a file, neither as rows nor in an error's text, in no form."""
    secret = tmp_path / "secret"
    secret.write_text("4711-very-secret\n")
    users = {
        "andon_read": line.read_password,
        "andon_grafana": line.grafana_password,
        "andon_write": line.write_password,
    }
    for user, password in users.items():
        asked = as_user(line, user, password)
        for sql in (*ATTACKS, *WRITES):
            with pytest.raises(DatabaseError) as refused:
                asked.raw_query(sql.replace("PATH", str(secret)))
            assert "Refused before it ran" in str(refused.value) or refused.value.code in (1, 62), sql
            assert "4711" not in str(refused.value)
        for name in ("format_template_row", "format_schema", "additional_result_filter", "select", "profile", "filter"):
            with pytest.raises(DatabaseError, match=f"'{name}' is not a setting that this user may change"):
                asked.raw_query("SELECT 1", settings={name: str(secret)})
        with pytest.raises(DatabaseError, match="'Template' is a format that"):
            asked.raw_query("SELECT 1", fmt="Template")


def test_the_engine_holds_the_worst_settings_itself(line: LocalClickHouse) -> None:
    """Beside the guard: they are constant in the profile, so a name that slipped through would change nothing."""
    text = (Path(__file__).parents[2] / "pipeline" / "local" / "clickhouse" / "users.xml").read_text("utf-8")
    held = {
        part.split("><")[0].strip(" <") for part in text.split("andon_guarded>")[1].splitlines() if "<const/>" in part
    }
    assert {"format_schema", "format_template_row", "additional_table_filters", "select", "filter"} <= held
    known = line.client().query("SELECT name FROM system.settings").result_columns[0]
    assert held <= set(known)
    user, password = line.server.user, line.password
    for name in sorted(held):
        port = int(line.server.url.rpartition(":")[2])
        where: dict[str, Any] = {"host": "127.0.0.1", "port": port, "session_id": name}
        ours = clickhouse_connect.get_client(username=user, password=password, **where)
        ours.command("SET profile = 'andon_guarded'")
        with pytest.raises(DatabaseError) as refused:
            ours.command(f"SET {name} = '{OTHER.get(name, 'x')}'")
        assert refused.value.code == 452, name


def test_the_writer_may_write_of_files(line: LocalClickHouse) -> None:
    """Values in its statements, and rows in any other form, are data."""
    writer = as_user(line, "andon_write", line.write_password)
    writer.raw_query("INSERT INTO halts (fleet, epoch) VALUES ('it''s file(1)', 1)")
    writer.raw_query('INSERT INTO halts (fleet, epoch) FORMAT JSONEachRow {"fleet": "file(\'x\') $$", "epoch": 2}')
    assert line.client().command("SELECT count() FROM halts WHERE fleet LIKE '%file(%'") == 2


def test_what_passes_holds_no_sql_and_no_names(client: Client) -> None:
    """Settings of text that limited accounts may change are known one by one; new ones are to be looked at."""
    guard = Guard.of(lambda sql: client.query(sql).result_columns[0])
    rows = client.query("SELECT name FROM system.settings WHERE type IN ('String', 'Map')").result_columns[0]
    passes = {name for name in rows if name not in guard.settings}
    data = {"log_comment", "preferred_optimize_projection_name", "database", "insert_deduplication_token"}
    data |= {"format_csv_null_representation", "format_tsv_null_representation"}
    assert {
        name for name in passes - data if not name.startswith(("format_custom_", "output_format_", "input_format_"))
    } == set()
    assert {"file", "aigenerate", "eval"} <= guard.functions
    assert {"url", "python", "executable", "eval", "sqlite", "filesystem", "s3", "remote"} <= guard.table_functions
    assert {"template", "values", "protobuf", "avroconfluent", "mysqldump"} <= guard.formats
    for query in queries().values():
        guard.check(query.sql.encode())
