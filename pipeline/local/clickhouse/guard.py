"""What a statement of a limited account may name, beside what the engine's access control decides. Pure.

For some of what reaches out of it the engine asks no right: the function `file`, formats and settings that name files
or addresses, settings that hold SQL, SQL in strings. A statement that names one of them is refused, whatever it is
about; strings are data and may say anything. Of the settings, formats and table functions that the engine says it has,
only those listed here pass.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pipeline.local.clickhouse.statement import TOKEN, StatementError

# Functions that read files; those of the category "AI", which call out, come from the engine.
_FUNCTIONS = frozenset({"file", "eval"})
_AI = "SELECT name FROM system.functions WHERE categories = 'AI'"

# Table functions that make their rows themselves, or take them from tables that may be read. `format` is a function
# too, and as a table function takes a right that no limited account has.
_TABLE_FUNCTIONS = frozenset(
    {"numbers", "numbers_mt", "zeros", "zeros_mt", "generateseries", "generate_series", "primes"}
)
_TABLE_FUNCTIONS |= {"values", "null", "view", "merge", "format", "generaterandom", "input"}

# Formats that need nothing but the rows. `Values` runs what stands in an INSERT's data.
_FORMATS = re.compile(
    r"(pretty|json|bson|csv|tsv|tskv|tabseparated|customseparated|rowbinary|raw|lineasstring|arrow|parquet|ndjson)\w*"
    r"|native|orc|msgpack|npy|vertical|xml|markdown|md|null|one|hash|sqlinsert|prometheus|avro"
)

# Settings of how a statement runs and how its rows look. Beware of `select`, `filter`, `order`, `sort`: they hold SQL.
_SETTINGS = re.compile(
    r"(max|min|join|group_by|distinct|sort|optimize|query_plan|compile|prefer|preferred|cast|date_time|timeout|format_csv"
    r"|format_custom|format_tsv|asterisk_include|output_format_(?!schema|avro)[a-z0-9]+|input_format_(?!record|values|avro)[a-z0-9]+)"
    r"_\w+|readonly|limit|offset|page|final|extremes|totals_mode|priority|log_comment|session_timezone|database"
    r"|(read|result)_overflow_mode|any_join_distinct_right_table_keys|aggregate_functions_null_for_empty"
    r"|transform_null_in|union_default_mode|joined_subquery_requires_alias|empty_result_for_aggregation_by_empty_set"
    r"|exact_rows_before_limit|short_circuit_function_evaluation|enable_analyzer|allow_experimental_analyzer"
    r"|(connect|receive|send)_timeout|cancel_http_readonly_queries_on_client_close|use_uncompressed_cache"
    r"|async_insert|wait_for_async_insert|insert_(deduplicate|deduplication_token|null_as_default)"
    r"|deduplicate_blocks_in_dependent_materialized_views|throw_on_max_partitions_per_insert_block"
    r"|distributed_foreground_insert|insert_distributed_sync"
)

_PLAIN = frozenset("()[]{},.:;+-*/%=<>!?|@^&~")  # beside words, numbers and quotes
_BEFORE_COMMENT = frozenset(" \t\n\r\f\v(),;")  # "1e--5" is no comment


class Guard(NamedTuple):
    """What the engine knows and a limited account may not name, in small letters."""

    functions: frozenset[str]
    table_functions: frozenset[str]
    formats: frozenset[str]
    settings: frozenset[str]

    @classmethod
    def of(cls, names: Callable[[str], Iterable[str]]) -> "Guard":
        """For an engine; `names` runs a query for the values of its one column."""

        def known(sql: str) -> set[str]:
            return {name.lower() for name in names(sql)}

        return cls(
            _FUNCTIONS | known(_AI),
            frozenset(known("SELECT name FROM system.table_functions") - _TABLE_FUNCTIONS),
            frozenset(name for name in known("SELECT name FROM system.formats") if not _FORMATS.fullmatch(name)),
            frozenset(name for name in known("SELECT name FROM system.settings") if not _SETTINGS.fullmatch(name)),
        )

    def check(self, statement: bytes) -> None:
        """The statement itself, without data that follows an INSERT … FORMAT.

        Raises:
            StatementError: says which token, and why.
        """
        last = ""
        for token, is_name in _tokens(statement.decode("latin-1")):
            self._check(token.lower(), is_name, last)
            last = token.lower()

    def _check(self, token: str, is_name: bool, last: str) -> None:
        if token == "(" and last in self.table_functions:
            raise _refusal(last, "reaches out of the tables, and such table functions are not for this user")
        if token == "=" and (last == "profile" or last in self.settings):
            raise _refusal(last, "is a setting that this user may not change")
        if not is_name:
            return
        if token in self.functions:
            raise _refusal(token, "reaches out of the engine; in a string it may stand")
        if token in self.settings and "_" in token:  # the others are words of SQL too
            raise _refusal(token, "is a setting that this user may not change; call no column like that")
        if last == "format":
            self.check_format(token)
        if token == "identifier" and last == ":":
            raise _refusal(token, "as the type of a parameter is not for this user: the statement itself says names")

    def check_format(self, name: str) -> None:
        """A format's name, from wherever it comes."""
        if name.lower() in self.formats:
            raise _refusal(name, "is a format that reads files or runs its data, or may; it is not for this user")

    def check_settings(self, names: Iterable[str]) -> None:
        """Settings that come beside the statement: those listed above and no others."""
        for name in names:
            if not _SETTINGS.fullmatch(name):
                raise _refusal(name, "is not a setting that this user may change")


def _tokens(text: str) -> Iterable[tuple[str, bool]]:
    """Names, as they are meant, and marks, without strings and comments; nothing that can be read in two ways."""
    for token in TOKEN.finditer(text):
        if token["skip"] is not None:
            _check_skipped(token[0], text[token.start() - 1 : token.start()])
        elif token["word"] is not None:
            if "$" in token[0]:
                raise _refusal("$", "is for this user allowed in strings only")
            yield token[0], True
        elif token["quoted"] is not None:
            if token[0][0] in '"`':
                yield _unquoted(token[0]), True
            elif token[0][0] != "'":
                raise _refusal(token[0][0], "begins a kind of quotes that is not for this user; write '…'")
            else:
                yield "'", False
        elif token["number"] is not None:
            yield "0", False
        elif token[0] in _PLAIN:
            yield token[0], False
        else:
            raise _refusal(token[0], "is not allowed here outside of strings, or quotes that are not closed")


def _check_skipped(text: str, before: str) -> None:
    if text[0] in "#\xc2" or text.startswith("//"):
        raise _refusal(text[:2], "is not for this user; comments are -- … and /* … */")
    if text.startswith("--") and before and before not in _BEFORE_COMMENT:
        raise _refusal("--", "begins a comment only after a space")


def _unquoted(name: str) -> str:
    if "\\" in name:
        raise _refusal(name, "is a quoted name with a backslash, and such names are not for this user")
    return name[1:-1]


def _refusal(token: str, why: str) -> StatementError:
    shown = token.encode("latin-1", "replace").decode("utf-8", "replace")[:60]
    return StatementError(497, "ACCESS_DENIED", f"Refused before it ran: {shown!r} {why}")
