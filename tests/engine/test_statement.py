"""What the local ClickHouse endpoint makes of a statement before the engine sees it."""

import pytest

from pipeline.local.clickhouse.statement import StatementError, inspect


@pytest.mark.parametrize(
    ("sql", "kind", "format_name"),
    [
        (b"select 1", "SELECT", ""),
        (b"-- a comment; with a semicolon\n SELECT ';', \"a;b\", `c;d` ; ", "SELECT", ""),
        (b"/* FORMAT JSON */ WITH 1 AS x SELECT x FORMAT Native", "WITH", "Native"),
        (b"SELECT 'FORMAT CSV' FORMAT JSON SETTINGS max_threads = 1", "SELECT", "JSON"),
        (b"SELECT format('{}', 'x')", "SELECT", ""),
        (b"INSERT INTO t VALUES (1), (2)", "INSERT", ""),
        (b"SELECT '\xff\xfe; it''s' FORMAT TSV", "SELECT", "TSV"),
    ],
)
def test_kind_and_format(sql: bytes, kind: str, format_name: str) -> None:
    """Quotes and comments hide what is in them; the first word and the FORMAT outside of them count."""
    assert inspect(sql)[:2] == (kind, format_name)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        (b"SELECT 1; DROP TABLE andon.events", 62),
        (b"SELECT 1 /* ; */ ; -- x\n SELECT 2", 62),
        (b"SELECT 1 // it's\n; DROP TABLE andon.events // '", 62),
        (b"SELECT $ a $ ' $ a $; DROP TABLE andon.events -- '", 62),
        (b"SELECT 1 AS \xe2\x80\x9c'\xe2\x80\x9d; DROP TABLE andon.events -- '", 62),
        (b"  -- nothing\n", 62),
        (b"", 62),
        (b"SELECT 1 INTO OUTFILE '/tmp/x'", 1),
        (b"SELECT 1 INTO/**/OutFile '/tmp/x'", 1),
    ],
)
def test_what_a_server_would_not_do_is_refused(sql: bytes, code: int) -> None:
    """Several statements, none, or files of this machine: an error with ClickHouse's code."""
    with pytest.raises(StatementError) as refused:
        inspect(sql)
    assert refused.value.code == code


def test_only_formats_without_a_frame_are_streamed() -> None:
    """JSON and Arrow have a beginning and an end; blocks of Native and TSV follow each other."""
    assert inspect(b"SELECT 1 FORMAT Native").streams("JSON")
    assert inspect(b"SELECT 1").streams("TabSeparated")
    assert not inspect(b"SELECT 1 FORMAT JSON").streams("TabSeparated")
    assert not inspect(b"SHOW TABLES").streams("TabSeparated")
