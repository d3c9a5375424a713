"""What the endpoint must know of a statement before the engine sees it: its kind, its format, and that it is one.

The embedded engine runs several statements separated by ";" and writes files for INTO OUTFILE, as a command-line
client does; a ClickHouse server over HTTP does neither, and neither does this endpoint. It would also take an empty
line for the end of an INSERT's data and run what follows, text from endpoints, as the next statement: so the data is
told apart here, and handed to the engine apart from the statement.
"""

import re
from typing import NamedTuple

# As ClickHouse's lexer divides a statement (read as latin-1), or more finely; what it cannot read at all is "other".
TOKEN = re.compile(
    r"""(?P<skip>\s+|\xc2\xa0|--[^\n]*|//[^\n]*|\#[ !][^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`
                  |\xe2\x80\x98.*?\xe2\x80\x99|\xe2\x80\x9c.*?\xe2\x80\x9d|(\$[^$]*\$).*?\3)
      | (?P<word>[A-Za-z_][\w$]*)
      | (?P<number>\d\w*)
      | (?P<end>;)
      | (?P<other>.)""",
    re.ASCII | re.DOTALL | re.VERBOSE,
)

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
    """`kind` is the first word in capitals; `format` the name after the last FORMAT, or "" without one.

    Of an INSERT … FORMAT: the statement without FORMAT ends at `ends_at`, the data that follows begins at `data_at`.
    """

    kind: str
    format: str
    ends_at: int = 0
    data_at: int = 0

    def streams(self, default_format: str) -> bool:
        """Whether blocks of the answer can be sent as they come: the format has neither header nor footer."""
        return self.kind in _READS and (self.format or default_format).upper() in _STREAMED


def inspect(sql: bytes) -> Statement:
    """Look at a statement; the data of an INSERT … FORMAT is not looked at.

    Raises:
        StatementError: several statements, none, or one that names files of this machine.
    """
    kind, previous, format_name, ended = "", "", "", False
    depth, format_at, formatting, selects = 0, 0, False, False
    for token in TOKEN.finditer(sql.decode("latin-1")):
        if token["skip"] is not None:
            continue
        if ended:
            raise StatementError(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
        if token["end"] is not None:
            ended = True
            continue
        word = (token["word"] or "").upper()
        if word in ("OUTFILE", "INFILE"):
            raise StatementError(1, "UNSUPPORTED_METHOD", f"{word} is not supported over HTTP")
        kind = kind or word
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        selects = selects or word in _READS
        if formatting:
            format_name = token["word"] or format_name
            if kind == "INSERT":
                return _insert(sql, token["word"], format_at, token.end(), selects)
        formatting = word == "FORMAT" and depth == 0 and previous not in ("INTO", "TABLE", ".")
        format_at = token.start() if formatting else format_at
        previous = word or token[0]
    if not kind:
        raise StatementError(62, "SYNTAX_ERROR", "Empty query")
    return Statement(kind, format_name)


def _insert(sql: bytes, format_name: str | None, format_at: int, format_end: int, selects: bool) -> Statement:
    if format_name is None:
        raise StatementError(62, "SYNTAX_ERROR", "The name of a FORMAT is a plain word")
    gap = _BEFORE_DATA.match(sql, format_end)
    data_at = gap.end() if gap else format_end
    if not selects:
        return Statement("INSERT", format_name, format_at, data_at)
    if sql[data_at:].strip(b"\t\n\f\r ;"):
        raise StatementError(48, "NOT_IMPLEMENTED", "INSERT … SELECT … FORMAT with data is not supported here")
    return Statement("INSERT", format_name)
