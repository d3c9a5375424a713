"""What the endpoint must know of a statement before the engine sees it: its kind, its format, and that it is one.

The embedded engine runs several statements separated by ";" and writes files for INTO OUTFILE, as a command-line
client does; a ClickHouse server over HTTP does neither, and neither does this endpoint.
"""

import re
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|\#[ !][^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`|\$(\w*)\$.*?\$\3\$)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<end>;)
      | (?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)

_STREAMED = frozenset({"NATIVE", "TABSEPARATED", "TSV", "CSV", "ROWBINARY", "JSONEACHROW", "JSONLINES", "NDJSON"})
_READS = frozenset({"SELECT", "WITH"})


class StatementError(ValueError):
    """Not a statement that this endpoint runs; `code` is ClickHouse's error code, `name` its name."""

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.name = name


class Statement(NamedTuple):
    """`kind` is the first word in capitals; `format` the name after the last FORMAT, or "" without one."""

    kind: str
    format: str

    def streams(self, default_format: str) -> bool:
        """Whether blocks of the answer can be sent as they come: the format has neither header nor footer."""
        return self.kind in _READS and (self.format or default_format).upper() in _STREAMED


def inspect(sql: bytes) -> Statement:
    """Look at a statement; the data of an INSERT … FORMAT is not looked at.

    Raises:
        StatementError: several statements, none, or one that names files of this machine.
    """
    kind, previous, format_name, ended = "", "", "", False
    for token in _TOKEN.finditer(sql.decode("latin-1")):
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
        if previous == "FORMAT" and word:
            format_name = token["word"]
            if kind == "INSERT":
                break
        previous = word
    if not kind:
        raise StatementError(62, "SYNTAX_ERROR", "Empty query")
    return Statement(kind, format_name)
