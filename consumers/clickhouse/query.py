"""`andon query`: ask ClickHouse by a query's name or in SQL, reading only; a table, CSV, JSON or Parquet comes back."""

import sys
from collections.abc import Callable
from typing import IO, Any, Literal

import click
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumers.clickhouse.archive import ArchiveConfig
from consumers.clickhouse.connect import connect
from consumers.clickhouse.guide import Named, queries
from pipeline.runtime.config import configured
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.logging import printable

GRACE_SECONDS = 5  # ClickHouse gives up first, and says so
SHOWN_ROWS = 1000
NO_WIDTH = 10_000  # columns, of a file or a pipe
Form = Literal["table", "csv", "json", "parquet"]
# As ClickHouse words them; "…WithNames" has the header that a spreadsheet wants.
FORMATS = {"csv": "CSVWithNames", "json": "JSON", "parquet": "Parquet"}


class Asker:
    """One connection, with limits that hold for each question."""

    def __init__(self, config: ArchiveConfig, timeout_seconds: int) -> None:
        self._client: Client = connect(
            config, database=config.database, timeout_seconds=timeout_seconds + GRACE_SECONDS
        )
        self._settings = {"readonly": 2, "max_execution_time": timeout_seconds}

    def table(self, sql: str, parameters: dict[str, str]) -> pa.Table:
        """The whole answer, columns of Arrow."""
        return self._client.query_arrow(sql, parameters=parameters, settings=self._settings, use_strings=False)

    def copy(self, sql: str, parameters: dict[str, str], form: str, out: IO[bytes]) -> None:
        """The answer's bytes, as they come."""
        with self._client.raw_stream(sql, parameters=parameters, settings=self._settings, fmt=FORMATS[form]) as stream:
            while chunk := stream.read(1 << 16):
                out.write(chunk)


@click.command("query")
@click.argument("what", metavar="NAME|SQL", required=False)
@click.option("--param", "-p", "given", multiple=True, metavar="K=V", help="Value of {K:Type}; may be given often.")
@click.option("--format", "form", type=click.Choice(["table", *FORMATS]), default="table", show_default=True)
@click.option("--timeout", type=click.IntRange(1, 3600), default=30, show_default=True, help="Seconds for an answer.")
@configured(("archive", ArchiveConfig))
def command(archive: ArchiveConfig, what: str | None, given: tuple[str, ...], form: Form, timeout: int) -> None:
    """Ask ClickHouse: NAME is one of docs/analysts.md (all are listed without it), anything else is SQL. Only reads."""
    named = queries()
    if what is None:
        _list(named)
        return
    sql, parameters = _question(what, given, named)
    try:
        asker = Asker(archive, timeout)
        if form == "table":
            _show(asker.table(sql, parameters))
        else:
            if form == "parquet" and sys.stdout.isatty():
                raise ConfigError("--format parquet is no text: send it to a file")
            asker.copy(sql, parameters, form, sys.stdout.buffer)
    except Error as error:
        raise AndonError(f"ClickHouse at {archive.clickhouse_url}: {printable(str(error))}") from None


def _question(what: str, given: tuple[str, ...], named: dict[str, Named]) -> tuple[str, dict[str, str]]:
    parameters = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"--param {pair!r}: should be NAME=VALUE")
        parameters[name] = value
    if what not in named:
        if not any(character.isspace() for character in what):
            raise ConfigError(f"no query is named {what!r}; `andon query` lists them, and SQL has a space in it")
        return what.rstrip().removesuffix(";"), parameters
    missing = [name for name in named[what].parameters if name not in parameters]
    if missing:
        raise ConfigError(f"{what} needs " + ", ".join(f"--param {name}=…" for name in missing))
    return named[what].sql, parameters


def _list(named: dict[str, Named]) -> None:
    table = Table("name", "parameters", box=box.SIMPLE_HEAD)
    for query in named.values():
        table.add_row(query.name, ", ".join(query.parameters))
    Console().print(table)


def _show(answer: pa.Table) -> None:
    """For people: hostile text escaped, numbers short. Folded to the terminal's width, if it is one."""
    out = Console(highlight=False, width=None if sys.stdout.isatty() else NO_WIDTH)
    table = Table(box=box.SIMPLE_HEAD)
    for field in answer.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(Text(printable(field.name)), justify="right" if number else "left", overflow="fold")
    for row in answer.slice(0, SHOWN_ROWS).to_pylist():
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    out.print(table)
    more = f", the first {SHOWN_ROWS:,} shown" if answer.num_rows > SHOWN_ROWS else ""
    out.print(f"{answer.num_rows:,} row{'' if answer.num_rows == 1 else 's'}{more}")


_CELLS: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (bytes, lambda value: printable(value.decode("utf-8", "backslashreplace"))),
    (float, lambda value: f"{value:.4g}"),
    (list, lambda value: "[" + ", ".join(map(_cell, value)) + "]"),
)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    for kind, show in _CELLS:
        if isinstance(value, kind):
            return show(value)
    return printable(str(value).removesuffix("+00:00"))
