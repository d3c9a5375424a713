"""Statements as the engine's lexer divides them, and written anew: against the engine itself."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.local.clickhouse.agreement import require_agreement
from pipeline.local.clickhouse.failure import EngineError
from pipeline.local.clickhouse.lexer import Kind, tokens
from pipeline.local.clickhouse.statement import StatementError, inspect

THEIRS = {
    "BareWord": Kind.WORD,
    "Number": Kind.NUMBER,
    "StringLiteral": Kind.STRING,
    "HereDoc": Kind.STRING,
    "QuotedIdentifier": Kind.NAME,
    "Whitespace": Kind.SKIP,
    "Comment": Kind.SKIP,
    "Semicolon": Kind.END,
}
# What opens and closes something, half of it, and what may stand beside it.
PIECES = ["'", "''", '"', '""', "`", "``", "\\", "\\'", '\\"', "--", "//", "/*", "*/", "/**/", "/*/", "# ", "#!", "#"]
PIECES += ["$", "$$", "$a$", "\u201c", "\u201d", "\u2018", "\u2019", "\u2212", "x'", "b'", "X'4", "\n", "\r", "\x0b"]
PIECES += [" ", "\t", "\0", "\u00a0", "\x85", "\u2003", "\u200b", "\u2028", "\u3000", "\ufeff", "\u00e9"]
PIECES += [
    "1",
    "1.",
    ".",
    "..",
    ".5",
    "1e",
    "e-",
    "0x",
    "0x1p",
    "0b1",
    "1_0",
    "_",
    "e",
    "E",
    "p",
    "x",
    "b",
    "t",
    "1e--",
]
PIECES += [
    "file(1)",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    "=",
    "<",
    ">",
    "-",
    "->",
    "+",
    "*",
    "/",
    "|",
    "||",
    "~",
    "@",
]
PIECES += [":", "::", "?", "^", "!", "!=", "%", "&", " AS ", " FORMAT ", " FROM ", ", ", "1 ", "'s' ", "/* x */"]
STATEMENTS = st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), min_size=20, max_size=40)


@pytest.fixture(scope="module")
def engine() -> Any:
    """A connection of the engine, in this process."""
    import chdb

    return chdb.connect(":memory:")


def asked(engine: Any, expression: str, statements: list[bytes]) -> list[Any]:
    """The engine's answer for each `q`."""
    listed = ", ".join(f"unhex('{statement.hex()}')" for statement in statements)
    sql = f"SELECT toJSONString(groupArray({expression})) FROM (SELECT arrayJoin([{listed}]) AS q)"
    found: list[Any] = json.loads(engine.query(sql, "TSVRaw").bytes())
    return found


def divided(told: list[dict[str, Any]]) -> list[tuple[int, int, Kind]]:
    """The engine's tokens in our terms."""
    errors = {"DollarSign", "VerticalDelimiter"}  # what nobody needs
    kinds = [
        Kind.WRONG if "Error" in t["type"] or t["type"] in errors else THEIRS.get(t["type"], Kind.MARK) for t in told
    ]
    return [(t["begin"], t["end"], kind) for t, kind in zip(told, kinds, strict=True) if kind is not Kind.SKIP]


@settings(max_examples=60, deadline=None)
@given(texts=STATEMENTS)
def test_what_is_passed_is_what_the_engine_reads(engine: Any, texts: list[str]) -> None:
    """Each token of the engine's is one of ours, in what was sent and in what is run; nothing else is in either, and
    the engine's parser makes the same of both."""
    passed = []
    for text in texts:
        sent = b"SELECT " + text.encode()
        try:
            passed.append((sent, inspect(sent).sql))
        except StatementError:
            continue
    if not passed:
        return
    for statements in ([sent for sent, _ in passed], [run for _, run in passed]):
        for sql, told in zip(statements, asked(engine, "tokenizeQuery(q)", statements), strict=True):
            ours = [(token.start, token.end, token.kind) for token in tokens(sql) if token.kind is not Kind.SKIP]
            assert ours == divided(told), sql
    for _, run in passed:
        assert not any(token.changed or token.kind is Kind.END for token in tokens(run))
        assert not any(mark in run for token in tokens(run) if token.kind is Kind.SKIP for mark in (b"/*", b"--", b"#"))
    parsed = asked(engine, "(formatQuerySingleLineOrNull(q), q)", [sql for pair in passed for sql in pair])
    for (before, sent), (after, _) in zip(parsed[::2], parsed[1::2], strict=True):
        assert before is None or before == after, sent


@pytest.mark.parametrize(
    ("sent", "run"),
    [
        ('SELECT /* /* */ " */ x /* " */', "SELECT x"),
        ("SELECT 1 -- one\n -- two\n, 'a -- b'", "SELECT 1\n, 'a -- b'"),
        ("SELECT a/**/b, $x$it's \\ so$x$, \u201cn\u201d;", "SELECT a b, 'it\\'s \\\\ so' , \"n\""),
        ("SELECT t.1.2, -1, 1--2\n, .5, x->x", "SELECT t.1.2, -1, 1\n, .5, x->x"),
        (
            "INSERT INTO t VALUES (1,\u00a0'a\n\n--b' /* c */), (-2, '\\'')",
            "INSERT INTO t VALUES (1, 'a\n\n--b' ), (-2, '\\'')",
        ),
    ],
)
def test_a_statement_is_written_anew(sent: str, run: str) -> None:
    """Without comments and with one kind of quotes; what stands in literals stays as it is."""
    assert inspect(sent.encode()).sql.decode() == run


@pytest.mark.parametrize("sql", ["SELECT /* /* */ 1", "SELECT 'x", "SELECT $a$", "SELECT 1e-", "SELECT \0", ". 1"])
def test_what_the_engine_could_read_in_another_way_is_an_error(sql: str) -> None:
    """Nothing runs of what is not closed, or only half there."""
    with pytest.raises(StatementError):
        inspect(sql.encode())


def test_the_engine_is_asked_whether_it_is_one_statement(engine: Any) -> None:
    """Of its own parser and lexer, whatever ours let through: not two, none that takes a role or writes a file, no
    comment, and no other words than those that were looked at."""
    require_agreement(engine, b"SELECT 1 AS parallel WITH TOTALS", may_write=False)
    require_agreement(engine, b"INSERT INTO t (a) VALUES (1)", may_write=True)
    for sql in (
        b"SELECT 1; SELECT 2",
        b"INSERT INTO t SELECT 1 PARALLEL WITH SET ROLE ALL",
        b"SET ROLE ALL",
        b"SELECT 1 INTO OUTFILE 'x'",
        b"INSERT INTO t SELECT 1",
        b"SELECT 1 -- x",
    ):
        with pytest.raises(EngineError, match="Refused before it ran") as refused:
            require_agreement(engine, sql, may_write=sql.endswith(b"ALL"))
        assert refused.value.code == 497, sql
    with pytest.raises(EngineError, match="Syntax error: failed at position") as wrong:
        require_agreement(engine, b"SELECT FROM WHERE", may_write=False)
    assert wrong.value.code == 62
