"""ClickHouse's lexer, and statements written anew from its tokens, so that what is looked at is what the engine reads.
Pure.

A statement that is written anew has no comments, one space or line end where there was anything to skip, and plain
quotes: nothing in it can be read in two ways. Literals keep their bytes.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple


class Kind(Enum):
    """What a token is; WRONG is what the engine cannot read either, or what nobody needs."""

    SKIP = auto()
    WORD = auto()
    NUMBER = auto()
    STRING = auto()
    NAME = auto()
    MARK = auto()
    END = auto()
    WRONG = auto()


class Token(NamedTuple):
    """`text` as it is written anew, `changed` if that is another spelling; it stood from `start` to `end`, in bytes.
    After one that is WRONG none follows."""

    kind: Kind
    text: bytes
    start: int
    end: int
    changed: bool = False


# As the engine's own lexer divides numbers: "x.1.2" is no "1.2", and "1e--2" no comment. Groups are atomic: it does
# not go back.
_DIGITS = rb"[0-9]+(?:_[0-9]+)*"
_HEX = rb"[0-9A-Fa-f]+(?:_[0-9A-Fa-f]+)*"
_POWER = rb"[+-]?(?:" + _DIGITS + rb")?"
_NUMBER = rb"(?P<number>(?>0[xX]" + _HEX + rb"(?:\.(?:" + _HEX + rb")?)?(?:[pP]" + _POWER + rb")?"
_NUMBER += rb"|(?:0[bB](?=[01]))?" + _DIGITS + rb"(?:\.(?:" + _DIGITS + rb")?)?(?:[eE]" + _POWER + rb")?))"
_FRACTION = rb"(?P<fraction>(?>\." + _DIGITS + rb"(?:[eE]" + _POWER + rb")?))"
_PART = rb"(?P<number>(?>" + _DIGITS + rb"))"
_TAIL = rb"(?P<tail>\w*+)"  # what begins with digits may be a name

_WIDE_SPACES = rb"\xc2[\x85\xa0]|\xe1\xa0\x8e|\xe2\x80[\x80-\x8d\xa8\xa9\xaf]|\xe2\x81[\x9f\xa0]|\xe3\x80\x80"
_SKIPPED = rb"(?:[ \t\n\r\f\v]|" + _WIDE_SPACES + rb"|\xef\xbb\xbf|(?:--|//|\#[ !])[^\n]*+)++"


def _pattern(numbers: bytes) -> re.Pattern[bytes]:
    parts = {
        b"skipped": _SKIPPED,
        b"string": rb"'(?:[^'\\]++|\\.|'')*+'|[xX]'[0-9A-Fa-f]*+'|[bB]'[01]*+'",
        b"unclosed": rb"[xXbB]'",
        b"heredoc": rb"(?P<tag>\$\w*+\$)(?P<document>.*?)(?P=tag)",
        b"word": rb"[A-Za-z_][\w$]*+",
        b"digits": numbers,
        b"comment": rb"/\*",
        b"mark": rb"<=>|\|>|~\*|->|::|==|!=|<=|>=|<>|\|\||@@|[()\[\]{},.:+\-*/%=<>?|@^~]",
        b"name": rb'"(?:[^"\\]++|\\.|"")*+"|`(?:[^`\\]++|\\.|``)*+`',
        b"end": rb";",
        b"curly": rb"\xe2\x80(?:\x98(?P<text>.*?)\xe2\x80\x99|\x9c(?P<named>.*?)\xe2\x80\x9d)",
        b"minus": rb"\xe2\x88\x92",
    }
    return re.compile(b"|".join(b"(?P<%s>%s)" % part for part in parts.items()), re.DOTALL)


_ANYWHERE = _pattern(_NUMBER + _TAIL + b"|" + _FRACTION)
_AFTER_VALUE = _pattern(_NUMBER + _TAIL)
_AFTER_POINT = _pattern(_PART + _TAIL + b"|" + _FRACTION)
_COMMENT_MARK = re.compile(rb"/\*|\*/")
_WORD = re.compile(rb"\w+")
_HALF_A_NUMBER = re.compile(rb"0[xX].*[pP][+-]?|(?!0[xX]).*[eE][+-]?", re.DOTALL)
_PLAIN = {"word": Kind.WORD, "string": Kind.STRING, "name": Kind.NAME, "mark": Kind.MARK, "end": Kind.END}


def tokens(sql: bytes) -> Iterator[Token]:
    """Everything in it, what is skipped too, in order."""
    position, pattern = 0, _ANYWHERE
    while position < len(sql):
        token = _token(sql, position, pattern)
        yield token
        if token.kind is Kind.WRONG:
            return
        position = token.end
        pattern = _next(token, pattern)


def _next(token: Token, pattern: re.Pattern[bytes]) -> re.Pattern[bytes]:
    """How to read on: whether a dot may begin a number depends on what it follows."""
    if token.kind is Kind.SKIP:
        return pattern
    if token.text == b".":
        return _AFTER_POINT
    is_value = token.kind in (Kind.WORD, Kind.NAME, Kind.NUMBER) or token.text in (b")", b"]")
    return _AFTER_VALUE if is_value else _ANYWHERE


def _token(sql: bytes, start: int, pattern: re.Pattern[bytes]) -> Token:
    found = pattern.match(sql, start)
    if found is None:
        return Token(Kind.WRONG, sql[start : start + 1], start, start + 1)
    text, end, group = found[0], found.end(), found.lastgroup or ""
    if kind := _PLAIN.get(group):
        return Token(kind, text, start, end)
    match group:
        case "skipped":
            return Token(Kind.SKIP, b"\n" if b"\n" in text else b" ", start, end)
        case "digits":
            return Token(_kind_of_number(found), text, start, end)
        case "comment":
            return _comment(sql, start)
        case "heredoc":
            return Token(Kind.STRING, _quoted(found["document"], b"'"), start, end, changed=True)
        case "curly" if found["text"] is not None:
            return Token(Kind.STRING, _quoted(found["text"], b"'"), start, end, changed=True)
        case "curly":
            return Token(Kind.NAME, _quoted(found["named"], b'"'), start, end, changed=True)
        case "minus":
            return Token(Kind.MARK, b"-", start, end, changed=True)
    return Token(Kind.WRONG, text, start, end)


def _kind_of_number(found: re.Match[bytes]) -> Kind:
    """Half a number is none: what follows would be part of it, or not."""
    number = found["number"] or found["fraction"]
    if found["tail"]:
        return Kind.WORD if _WORD.fullmatch(number) else Kind.WRONG
    return Kind.WRONG if _HALF_A_NUMBER.fullmatch(number) else Kind.NUMBER


def _comment(sql: bytes, start: int) -> Token:
    """They nest."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(sql, start):
        depth += 1 if mark[0] == b"/*" else -1
        if depth == 0:
            return Token(Kind.SKIP, b" ", start, mark.end())
    return Token(Kind.WRONG, b"/*", start, len(sql))


def _quoted(text: bytes, quote: bytes) -> bytes:
    return quote + text.replace(b"\\", b"\\\\").replace(quote, b"\\" + quote) + quote


class Writer:
    """Writes a statement anew from its tokens."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._gap = b""
        self._apart = False  # what was spelled in another way may not touch its neighbours

    def add(self, token: Token) -> None:
        """The next one; what may be skipped becomes a gap between two."""
        if token.kind is Kind.SKIP:
            self._gap = b"\n" if self._gap == b"\n" else token.text
            return
        if self._text and (self._gap or self._apart or token.changed):
            self._text += self._gap or b" "
        self._text += token.text
        self._apart, self._gap = token.changed, b""

    @property
    def size(self) -> int:
        """Of it, in bytes."""
        return len(self._text)

    def text(self) -> bytes:
        """All so far."""
        return bytes(self._text)
