"""No account with a role reads a file of this machine, however the function is spelt; text that says so is data."""

from collections.abc import Iterator

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bench.archive_line import LocalClickHouse
from pipeline.local.clickhouse_guard import check
from pipeline.local.clickhouse_sql import StatementError, inspect

SPELT = (
    "SELECT file('/etc/passwd')",
    "SELECT FILE ('/etc/passwd')",
    "SELECT file/**/('/etc/passwd')",
    "SELECT `file`('/etc/passwd')",
    "SELECT \"file\"('/etc/passwd')",
    r"SELECT `f\x69le`('/etc/passwd')",
    "SELECT arrayMap(file, ['/etc/passwd'])",
    "SELECT 1 AS x$t$, file('/etc/passwd') AS y$t$",
    "WITH (SELECT file('/etc/passwd')) AS f SELECT f",
    "SELECT * FROM eval(concat('SELECT fi','le(''/etc/passwd'')')) SETTINGS allow_experimental_eval_table_function = 1",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = '/etc/passwd'",
    "SELECT 1 FORMAT Template SETTINGS `format_template_resultset` = '/etc/passwd'",
    "SELECT {f:Identifier}('/etc/passwd')",
)
WRITTEN = (
    "INSERT INTO andon.heartbeats (offset) SELECT toInt64(file('/etc/passwd'))",
    "INSERT INTO andon.heartbeats (offset) VALUES (toInt64(file('/etc/passwd')))",
    "INSERT INTO andon.heartbeats (offset) FORMAT Values (toInt64(file('/etc/passwd')))",
)
DATA = (
    "SELECT 'file'",
    "SELECT 'it''s a file(''x'')', $t$file('x')$t$",
    "SELECT 1 -- a file\n",
    'INSERT INTO t FORMAT JSONEachRow {"a":"file"} file(\'x\')',
    "SELECT profile, files FROM t WHERE has(updates.version, 'eval')",
)


def refused(sql: str) -> bool:
    """By the guard alone."""
    try:
        check(sql.encode(), inspect(sql.encode()))
    except StatementError as error:
        return error.code == 497
    return False


@pytest.mark.parametrize("sql", [*SPELT[:-1], *WRITTEN])
def test_what_reaches_out_is_refused(sql: str) -> None:
    """By name, before the engine sees it."""
    assert refused(sql)


@pytest.mark.parametrize("sql", DATA)
def test_text_is_data(sql: str) -> None:
    """Strings, comments, data of an insert, and longer names."""
    assert not refused(sql)


@given(st.text())
def test_any_string_may_be_asked_for(text: str) -> None:
    """Quoted as a client quotes it."""
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    assert not refused(f"SELECT '{quoted}'")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClickHouse]:
    """The endpoint."""
    with LocalClickHouse(tmp_path_factory.mktemp("guard")) as running:
        yield running


def client(line: LocalClickHouse, user: str, password: str) -> Client:
    """As users make one."""
    port = int(line.server.clickhouse_url.rpartition(":")[2])
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=port, username=user, password=password, database="andon", autogenerate_session_id=False
    )


@pytest.mark.system
def test_no_account_reads_a_file(line: LocalClickHouse) -> None:
    """Over HTTP, in the statement and in the settings of the URL; what comes back holds nothing of the file."""
    reader = client(line, "andon_read", line.read_password)
    for sql in SPELT:
        with pytest.raises(DatabaseError) as error:
            reader.raw_query(sql, parameters={"f": "file"})
        assert "root:" not in str(error.value)
    with pytest.raises(DatabaseError) as error:
        reader.raw_query("SELECT 1", fmt="Template", settings={"format_template_row": "/etc/passwd"})
    assert error.value.code == 497
    assert reader.raw_query("SELECT {f:String}", parameters={"f": "file"}) == b"file\n"
    writer = client(line, "andon_write", line.write_password)
    for sql in WRITTEN:
        with pytest.raises(DatabaseError) as error:
            writer.raw_query(sql)
        assert error.value.code == 497
