"""Whether the engine reads a limited account's statement as we did: asked before it runs, of the engine's own lexer and
parser.

A connection of the engine has one user, so a second statement hidden in the first could take any role. The engine says
how many there are and what they would do, and that no word, name or string begins or ends elsewhere than for the guard.
"""

import re
from typing import Any

from pipeline.local.clickhouse.failure import EngineError
from pipeline.local.clickhouse.lexer import Kind, tokens

MAX_STATEMENT_BYTES = 256 * 1024  # as the engine's own max_query_size; data behind a FORMAT does not count

_SPANS = """SELECT t.begin, t.end
FROM (SELECT arrayJoin(arrayFilter(t -> t.type != 'Whitespace', tokenizeQuery({sql:String}))) AS t)"""
_PARSED = "SELECT formatQuerySingleLine({sql:String})"
_QUESTION = re.compile(r": In scope SELECT formatQuery.*(?=\. \([A-Z_]+\))", re.DOTALL)  # ours, not the asker's
_DISAGREED = "the engine reads it in another way than this endpoint does"
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}  # a parameter's value is escaped like TSV


def require_agreement(connection: Any, sql: bytes, may_write: bool) -> None:
    """That the engine takes `sql` for one statement that reads, or writes rows, and divides it as we do.

    Raises:
        EngineError: 62 with the engine's words for what it cannot parse, 497 where it sees something else.
    """
    try:
        text = sql.decode()
    except UnicodeDecodeError:
        raise EngineError.named(62, "SYNTAX_ERROR", "Syntax error: the statement is not UTF-8") from None
    found = connection._conn.classify_query(text)
    allowed = ("READ_ONLY", "MUTATING") if may_write else ("READ_ONLY",)
    if found["statement_count"] != 1 or found["query_class"].name not in allowed:
        if not found["statement_count"]:
            _ask(connection, _PARSED, text)  # says where the syntax error is
        raise EngineError.named(497, "ACCESS_DENIED", f"Refused before it ran: {_refusal(found)}")
    theirs = [tuple(map(int, line.split(b"\t"))) for line in _ask(connection, _SPANS, text).splitlines()]
    if theirs != [(token.start, token.end) for token in tokens(sql) if token.kind is not Kind.SKIP]:
        raise EngineError.named(497, "ACCESS_DENIED", f"Refused before it ran: {_DISAGREED}")


def _refusal(found: dict[str, Any]) -> str:
    if found["statement_count"] > 1:
        return "it is more than one statement"
    return "it is not of a kind that this user may run" if found["statement_count"] else _DISAGREED


def _ask(connection: Any, question: str, sql: str) -> bytes:
    escaped = "".join(_ESCAPES.get(character, character) for character in sql)
    try:
        answer: bytes = connection.query(question, "TSVRaw", params={"sql": escaped}).bytes()
    except RuntimeError as error:
        found = EngineError.of(error)
        raise EngineError(found.code, _QUESTION.sub("", str(found))) from None
    return answer
