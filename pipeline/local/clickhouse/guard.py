"""What a statement of a limited account may name, beside what the engine's access control decides. Pure.

For some of what reaches out of it the engine asks no right: the function `file`, formats and settings that name files
or addresses, settings that hold SQL, SQL in strings. A statement that names one of them is refused, whatever it is
about; strings are data and may say anything. Of the settings, formats and table functions that the engine says it has,
only those listed here pass.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from pipeline.local.clickhouse.lexer import Kind, tokens
from pipeline.local.clickhouse.statement import StatementError

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
        """The statement as it will run, without data that follows an INSERT … FORMAT.

        Raises:
            StatementError: says which token, and why.
        """
        last = ""
        for token, is_name in _names_and_marks(statement):
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


def _names_and_marks(statement: bytes) -> Iterator[tuple[str, bool]]:
    """Names, as they are meant, and marks; of strings and numbers only that there is one."""
    for token in tokens(statement):
        text = token.text.decode("latin-1")
        match token.kind:
            case Kind.WORD:
                yield text, True
            case Kind.NAME:
                yield _unquoted(text), True
            case Kind.STRING | Kind.NUMBER:
                yield "'", False
            case Kind.MARK:
                yield text, False
            case Kind.WRONG | Kind.END:
                raise _refusal(text, "is not allowed here outside of strings, or quotes that are not closed")


def _unquoted(name: str) -> str:
    if "\\" in name or name[0] in name[1:-1]:
        raise _refusal(
            name, "is a quoted name with a backslash or its own quotes, and such names are not for this user"
        )
    return name[1:-1]


def _refusal(token: str, why: str) -> StatementError:
    shown = token.encode("latin-1", "replace").decode("utf-8", "replace")[:60]
    return StatementError(497, "ACCESS_DENIED", f"Refused before it ran: {shown!r} {why}")
