"""The data of an INSERT never reaches the engine as part of a statement: its empty lines would end it, and what
follows would run as SQL. (That the rows arrive whole is a system test.)"""

import pytest

from pipeline.local.clickhouse.statement import StatementError, inspect

HOSTILE = b"1\n\nDROP TABLE andon.events; SELECT {"


@pytest.mark.parametrize(
    ("head", "clauses"),
    [
        (b"INSERT INTO andon.events ", b"FORMAT Arrow\n"),
        (b"INSERT INTO t (a, format, settings) ", b"SETTINGS x = 1 FORMAT TSV\r\n"),
        (b"insert into settings ", b"format TSV "),
        (b"INSERT INTO format ", b"/* ( */ FORMAT TSV\n"),
        (b"INSERT INTO TABLE d.settings ", b"SETTINGS y = 1, z = 'FORMAT' FORMAT  CSV\n"),
        (b"INSERT INTO FUNCTION null('format String') ", b"FORMAT Values "),
    ],
)
def test_statement_clauses_and_data_are_told_apart(head: bytes, clauses: bytes) -> None:
    """However the statement is written, the data begins after the format's name and one line end."""
    sql = head + clauses + HOSTILE
    found = inspect(sql)
    assert sql[found.data_at :] == HOSTILE
    assert found.sql.startswith(head.strip())
    assert b"FORMAT TSV" not in found.sql.upper()


@pytest.mark.parametrize(
    "sql",
    [
        b"INSERT INTO t FORMAT `TSV`\n" + HOSTILE,
        b"INSERT INTO t SELECT * FROM input('s String') FORMAT TSV\n" + HOSTILE,
        b"INSERT INTO t WITH 1 AS x SELECT x FORMAT TSV\n" + HOSTILE,
        b"INSERT INTO t FROM INFILE '/etc/passwd' FORMAT TSV",
    ],
)
def test_data_that_cannot_be_set_apart_is_refused(sql: bytes) -> None:
    """No way leads around it: such statements are errors, not passed on."""
    with pytest.raises(StatementError):
        inspect(sql)


def test_statements_without_such_data_pass() -> None:
    """VALUES are parsed as literals, where an empty line is only text; a SELECT brings no data."""
    for sql in (b"INSERT INTO t VALUES ('a\n\nb')", b"INSERT INTO t SELECT 1 FORMAT Null", b"SELECT 1 FORMAT TSV"):
        assert inspect(sql).data_at == 0
