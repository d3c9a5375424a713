"""What the endpoint must know of a statement before the engine sees it: its kind, its format, and that it is one; and
the statement as it is run, written anew from what was looked at.

The embedded engine runs several statements separated by ";" and writes files for INTO OUTFILE, as a command-line
client does; a ClickHouse server over HTTP does neither, and neither does this endpoint. It would also take an empty
line for the end of an INSERT's data and run what follows, text from endpoints, as the next statement: so the data is
told apart here, and handed to the engine apart from the statement.
"""

import re
from typing import NamedTuple

from pipeline.local.clickhouse.lexer import Kind, Token, Writer, tokens

_BEFORE_DATA = re.compile(rb"[ \t\f]*\r?\n?")  # as ClickHouse skips it between FORMAT's name and the data

_STREAMED = frozenset({"NATIVE", "TABSEPARATED", "TSV", "CSV", "ROWBINARY", "JSONEACHROW", "JSONLINES", "NDJSON"})
_READS = frozenset({"SELECT", "WITH"})


class StatementError(ValueError):
    """Not a statement that this endpoint runs; `code` is ClickHouse's error code, `name` its name."""

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.name = name


class Statement(NamedTuple):
    """`kind` is the first word in capitals; `format` the name after the last FORMAT, or "" without one; `sql` what is
    to be run.

    Of an INSERT … FORMAT with data `sql` ends before FORMAT, and the data begins at `data_at` of what was sent.
    """

    kind: str
    format: str
    sql: bytes = b""
    data_at: int = 0

    @property
    def reads(self) -> bool:
        """Whether rows come back for which the engine counts limits."""
        return self.kind in _READS

    def streams(self, default_format: str) -> bool:
        """Whether blocks of the answer can be sent as they come: the format has neither header nor footer."""
        return self.reads and (self.format or default_format).upper() in _STREAMED


def inspect(sql: bytes, max_bytes: int = 0) -> Statement:
    """Look at a statement; the data of an INSERT … FORMAT is not looked at, and does not count for `max_bytes` (0: as
    long as it likes).

    Raises:
        StatementError: several statements, none, one that is too long, or one that names files of this machine.
    """
    reading = _Reading()
    for token in tokens(sql):
        if max_bytes and token.end > max_bytes:
            raise StatementError(307, "TOO_MANY_BYTES", f"A statement of this user may have {max_bytes} bytes")
        if found := reading.take(token, sql):
            return found
    if not reading.kind:
        raise StatementError(62, "SYNTAX_ERROR", "Empty query")
    return Statement(reading.kind, reading.format, reading.run.text())


class _Reading:
    """A statement as far as it has been read."""

    def __init__(self) -> None:
        self.kind, self.format = "", ""
        self.run = Writer()
        self._head_bytes = 0  # of it, what stands before FORMAT
        self._previous, self._depth = "", 0
        self._formatting, self._selects, self._ended = False, False, False

    def take(self, token: Token, sql: bytes) -> Statement | None:
        """Go on; the statement where an INSERT's data begins."""
        if token.kind is Kind.SKIP:
            self.run.add(token)
            return None
        if self._is_end(token):
            return None
        word = token.text.decode().upper() if token.kind is Kind.WORD else ""
        if word in ("OUTFILE", "INFILE"):
            raise StatementError(1, "UNSUPPORTED_METHOD", f"{word} is not supported over HTTP")
        self.kind = self.kind or word
        self._depth += {b"(": 1, b")": -1}.get(token.text, 0)
        self._selects = self._selects or word in _READS
        if self._formatting:
            self.format = token.text.decode() if word else self.format
            if self.kind == "INSERT" and (found := self._insert(bool(word), sql, token.end)):
                return found
        self._formatting = word == "FORMAT" and self._depth == 0 and self._previous not in ("INTO", "TABLE", ".")
        if self._formatting:
            self._head_bytes = self.run.size
        self.run.add(token)
        self._previous = word or token.text.decode("latin-1")
        return None

    def _is_end(self, token: Token) -> bool:
        if self._ended:
            raise StatementError(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
        if token.kind is Kind.WRONG or not (self._previous or token.kind is Kind.WORD or token.text in (b"(", b";")):
            shown = token.text.decode("utf-8", "replace")
            raise StatementError(62, "SYNTAX_ERROR", f"Syntax error at byte {token.start + 1}: {shown!r}")
        self._ended = token.kind is Kind.END
        return self._ended

    def _insert(self, is_word: bool, sql: bytes, format_end: int) -> Statement | None:
        if not is_word:
            raise StatementError(62, "SYNTAX_ERROR", "The name of a FORMAT is a plain word")
        gap = _BEFORE_DATA.match(sql, format_end)
        data_at = gap.end() if gap else format_end
        if not self._selects:
            return Statement("INSERT", self.format, self.run.text()[: self._head_bytes], data_at)
        if sql[data_at:].strip(b"\t\n\f\r ;"):
            raise StatementError(48, "NOT_IMPLEMENTED", "INSERT … SELECT … FORMAT with data is not supported here")
        return None
