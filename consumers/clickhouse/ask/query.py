"""`andon query`: ask ClickHouse by a query's name or in SQL, reading only; a table, CSV, JSON or Parquet comes back."""

import re
import sys
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Literal

import click
from rich import box
from rich.table import Column, Table

from consumers.clickhouse import known
from consumers.clickhouse.ask.answer import ROWS_FORMAT, ROWS_SETTINGS, Answer, CutOff, Reading, read_answer
from consumers.clickhouse.ask.named import Named, queries
from consumers.clickhouse.ask.output import Defused, Sink, Terminal
from consumers.clickhouse.ask.question import Parameters, Question, question
from consumers.clickhouse.ask.table import show
from consumers.clickhouse.connect import ClickHouseConfig, connect
from pipeline.runtime.config import configured
from pipeline.runtime.console import stdout_console
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.logging import printable
from pipeline.runtime.say import safe, safe_json, say

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

GRACE_SECONDS = 5  # ClickHouse gives up first, and says so
SHOWN_ROWS = 1000
Form = Literal["table", "csv", "json", "parquet"]
# As ClickHouse words them; "…WithNames" has the header that a spreadsheet wants.
FORMATS = {"csv": "CSVWithNames", "json": "JSON", "parquet": "Parquet"}
STREAMED_CSV = "CSV"  # without the header, which is put before it: so the embedded engine sends it as it comes


SYNTAX_ERROR = 62
TOO_MUCH = 396
_ADVICE = {
    "csv": "ask for less (LIMIT, fewer columns)",
    "json": "--format csv has no such limit; or ask for less (LIMIT, fewer columns)",
    "parquet": "--format csv has no such limit; or ask for less (LIMIT, fewer columns)",
}
_FORMAT_CLAUSE = re.compile(r"\bFORMAT\s+\w+\s*$", re.IGNORECASE)
_ENUM = re.compile(r"Enum(8|16)\((?:'(?:[^'\\]|\\.)*'|[^')])*\)")
_TOTALS = re.compile(
    r"""(['"`])(?:(?!\1)[^\\]|\\.)*\1|--[^\n]*|/\*.*?\*/|\b(?P<totals>WITH\s+TOTALS)\b""", re.IGNORECASE | re.DOTALL
)
_COMMENT_FIRST = re.compile(r"--([^\s=]*).*\s", re.DOTALL)


class Asker:
    """One connection, with limits that hold for each question."""

    def __init__(self, config: ClickHouseConfig, timeout_seconds: int) -> None:
        self._client: Client = connect(
            config, database=config.database, timeout_seconds=timeout_seconds + GRACE_SECONDS
        )
        self._settings = {"readonly": 2, "max_execution_time": timeout_seconds, "session_timezone": "UTC"}

    def table(self, sql: str, parameters: Parameters) -> Answer:
        """The answer's first rows."""
        settings = self._settings | ROWS_SETTINGS
        with self._client.raw_stream(sql, parameters=parameters, settings=settings, fmt=ROWS_FORMAT) as stream:
            return read_answer(Reading(stream), SHOWN_ROWS)

    def copy(self, sql: str, parameters: Parameters, fmt: str, out: Sink, header: bytes = b"") -> None:
        """The answer's bytes, as they come, behind `header`."""
        with self._client.raw_stream(sql, parameters=parameters, settings=self._settings, fmt=fmt) as stream:
            read = Reading(stream)
            out.write(header)
            while chunk := read():
                out.write(chunk)

    def check(self, named: dict[str, str]) -> None:
        """Raises UnknownName when a parameter of a named query names what ClickHouse has never heard of."""
        known.check(self._client, named)

    def doubts(self, asked: Question) -> list[str]:
        """Of free SQL: the names in it that ClickHouse has never heard of, each in a sentence; none where it has no
        tables of ours."""
        from clickhouse_connect.driver.exceptions import Error

        try:
            return list(known.unheard(self._client, asked.names))
        except Error:
            return []

    def columns(self, sql: str, parameters: Parameters) -> list[tuple[str, str]]:
        """Names and types; none where ClickHouse cannot say before it answers."""
        from clickhouse_connect.driver.exceptions import Error

        try:
            found = self._client.query(f"DESCRIBE TABLE ({sql}\n)", parameters=parameters, settings=self._settings)
        except Error:
            return []
        return [(row[0], row[1]) for row in found.result_rows]


def _enums_as_strings(sql: str, columns: list[tuple[str, str]]) -> str:
    """Parquet has a type of its own for them, which readers take for bytes."""
    plain = [(name.replace("`", "\\`"), kind, _ENUM.sub("String", kind)) for name, kind in columns]
    casts = [f"CAST(`{name}` AS {wanted}) AS `{name}`" for name, kind, wanted in plain if kind != wanted]
    return f"SELECT * REPLACE ({', '.join(casts)}) FROM ({sql}\n)" if casts else sql


class SqlCommand(click.Command):
    """Click takes all that begins with "--" for an option; SQL may begin with a comment."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Comments go behind a "--"."""
        known = {name for parameter in self.params for name in parameter.opts}
        found = [(_COMMENT_FIRST.match(argument), argument) for argument in args]
        sql = [argument for match, argument in found if match and "--" + match[1] not in known]
        if sql and "--" not in args:
            args = [argument for argument in args if argument not in sql] + ["--", *sql]
        return super().parse_args(ctx, args)


@click.command("query", cls=SqlCommand)
@click.argument("what", metavar="NAME|SQL", required=False)
@click.option("--list", "listed", is_flag=True, help="Every NAME, with a sentence and what it takes.")
@click.option("--param", "-p", "given", multiple=True, metavar="K=V", help="Value of {K:Type}; may be given often.")
@click.option("--format", "form", type=click.Choice(["table", *FORMATS]), default="table", show_default=True)
@click.option(
    "--raw", is_flag=True, help="CSV for programs: text that a spreadsheet would compute gets no ' before it."
)
@click.option("--timeout", type=click.IntRange(1, 3600), default=30, show_default=True, help="Seconds for an answer.")
@configured(("clickhouse", ClickHouseConfig), unused=("cluster", "timeout_seconds"))
def command(
    clickhouse: ClickHouseConfig,
    what: str | None,
    listed: bool,
    given: tuple[str, ...],
    form: Form,
    raw: bool,
    timeout: int,
) -> None:
    """Ask ClickHouse: NAME is one of docs/analysts.md (all are listed without it), anything else is SQL. Only reads.

    A fleet, update or host that ClickHouse has never heard of is said to be unknown: exit code 1.
    """
    # Here, not above: whoever asks for help does not wait for what the command needs.
    from clickhouse_connect.driver.exceptions import Error

    if raw and form != "csv":
        raise ConfigError("--raw: only of --format csv; nothing is changed in the others")
    named = queries()
    if what is None or listed:
        _list(named)
        return
    asked = question(what, given, named)
    try:
        asker = Asker(clickhouse, timeout)
        if asked.name:
            asker.check(asked.given)
        _answer(asker, asked, form, raw)
        for doubt in asker.doubts(asked):
            say(f"note: {doubt}", err=True)
    except CutOff as error:
        sys.stdout.flush()
        raise AndonError(f"ClickHouse at {clickhouse.url}: {error}") from None
    except Error as error:
        if error.code == SYNTAX_ERROR and _FORMAT_CLAUSE.search(asked.sql):
            raise ConfigError("no FORMAT in the SQL: say --format " + "|".join(FORMATS)) from None
        if error.code == TOO_MUCH and form != "table":
            raise AndonError(f"ClickHouse at {clickhouse.url}: {_plain(str(error))}: {_ADVICE[form]}") from None
        raise AndonError(f"ClickHouse at {clickhouse.url}: {printable(_plain(str(error)))}") from None


def _plain(error: str) -> str:
    """The server's own words: no client's around them, nothing of what was put behind the SQL or would be accepted."""
    if refused := error.partition("Failed to establish a new connection: ")[2]:
        return refused.partition('"')[0] + "; of a local line, the file .andon/env has the settings"
    words = error.partition("DB::Exception: ")[2] or error
    for rest in (f"\n FORMAT {ROWS_FORMAT}", " Expected one of:", " (version ", " (for url "):
        words = words.partition(rest)[0]
    return words.strip()


def _answer(asker: Asker, asked: Question, form: Form, raw: bool) -> None:
    sql, parameters = asked.sql, asked.bound
    if form in ("table", "parquet") and any(found["totals"] for found in _TOTALS.finditer(sql)):
        raise ConfigError(f"--format {form} has no place for what WITH TOTALS adds: --format csv|json, or WITH ROLLUP")
    if form == "table":
        show(asker.table(sql, parameters), asked.notes)
        return
    to_people = sys.stdout.isatty()
    if form == "parquet" and to_people:
        raise ConfigError("--format parquet is no text: send it to a file")
    columns = asker.columns(sql, parameters)
    if form != "csv" and (equal := [name for name, count in Counter(name for name, _ in columns).items() if count > 1]):
        raise ConfigError(f"--format {form} tells columns by name, and more than one is {', '.join(equal)}: use AS")
    if form == "parquet":
        sql = _enums_as_strings(sql, columns)
    out: Sink = sys.stdout.buffer
    if to_people:
        out = Terminal(sys.stdout.buffer, safe_json if form == "json" else safe)
    if form != "csv":
        asker.copy(sql, parameters, FORMATS[form], out)
        return
    fmt, header = (STREAMED_CSV, _csv_header(columns)) if columns else (FORMATS[form], b"")
    if raw:
        asker.copy(sql, parameters, fmt, out, header)
        return
    with closing(Defused(out)) as defused:
        asker.copy(sql, parameters, fmt, defused, header)


def _csv_header(columns: list[tuple[str, str]]) -> bytes:
    """As ClickHouse writes it."""
    return ",".join('"' + name.replace('"', '""') + '"' for name, _ in columns).encode() + b"\n"


def _list(named: dict[str, Named]) -> None:
    whole = Column("name", no_wrap=True)
    table = Table(whole, "what it says, and what it takes (-p NAME=…)", box=box.SIMPLE_HEAD)
    for query in named.values():
        takes = f" ({', '.join(query.parameters)})" if query.parameters else ""
        table.add_row(query.name, query.about + takes)
    stdout_console().print(table)
