"""`andon backtest`: what would have been halted, when, and on what evidence."""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import click
from clickhouse_connect.driver.exceptions import Error

from consumers.clickhouse.ask.answer import CutOff
from consumers.clickhouse.connect import ClickHouseConfig, connect
from pipeline.backtest import lines
from pipeline.backtest.follow import ReadLines, follow
from pipeline.backtest.forms import Said
from pipeline.backtest.noted import InputNotes
from pipeline.backtest.report import show_differences
from pipeline.backtest.stored import DAY_SECONDS, Span, differences, halts_then
from pipeline.backtest.stored import batches as stored_batches
from pipeline.decide.policy import PolicyError, PolicySet, load_policies
from pipeline.runtime.config import configured
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.logging import printable

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])
NEVER = datetime(2100, 1, 1)  # later than any event may say


@click.command("backtest")
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--policy", type=click.Path(path_type=Path), help="Policy TOML; without it the built-in policy.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a decision, and last the summary.")
@click.option("--from-clickhouse", is_flag=True, help="Read what ClickHouse has stored, and compare with its halts.")
@click.option("--since", type=MOMENT, help="With --from-clickhouse: first moment (UTC) of the events.")
@click.option(
    "--until", type=MOMENT, help="With --from-clickhouse: the moment before which they end. [default: no end]"
)
@click.option("--fleet", default="", help="With --from-clickhouse: only this fleet.")
@configured(("clickhouse", ClickHouseConfig), unused=("cluster", "timeout_seconds"))
def command(
    clickhouse: ClickHouseConfig,
    files: tuple[str, ...],
    policy: Path | None,
    as_json: bool,
    from_clickhouse: bool,
    since: datetime | None,
    until: datetime | None,
    fleet: str,
) -> None:
    """What would have been halted? Read NDJSON events (plain, gzip or zstd; "-" is standard input) and decide.

    Several files are read one after the other, as one stream: name them in the order of their time. With
    --from-clickhouse there are no files; the last lines say what differs from the halts that went out. Exit code 1 when
    there is no event, or most lines are none: that is no pass.
    """
    if from_clickhouse == bool(files) or (from_clickhouse and since is None):
        raise ConfigError("name FILEs, or --from-clickhouse with --since")
    if since and until and until <= since:
        raise ConfigError(f"--until {until} is not after --since {since}")
    if not from_clickhouse:
        _refuse(since=since, until=until, fleet=fleet)
    policies = read_policies(policy)
    if not from_clickhouse:
        sizes = [lines.check(name) for name in files]
        notes = InputNotes()
        read = files_read(files, lambda form: notes.forms.update([form]))
        follow(policies, read, sum(sizes) if all(sizes) else None, as_json, notes)
        return
    first, last = ((moment or NEVER).replace(tzinfo=UTC) for moment in (since, until))
    span = Span(first, last, fleet)
    try:
        client = connect(clickhouse, database=clickhouse.database, timeout_seconds=DAY_SECONDS)
        then = halts_then(client, span)
        orders = follow(policies, lambda advance: stored_batches(client, span, advance), None, as_json)
    except CutOff as error:
        sys.stdout.flush()
        raise AndonError(f"ClickHouse at {clickhouse.url}: {error}; so are the halts printed") from None
    except Error as error:
        raise AndonError(f"ClickHouse at {clickhouse.url}: {printable(str(error))}") from None
    show_differences(differences(then, orders, span.since_ms), as_json)


def _refuse(**options: object) -> None:
    """Nothing is passed over in silence."""
    for name, value in options.items():
        if value:
            raise click.UsageError(f"--{name} needs --from-clickhouse: of a FILE every event is read")


def files_read(files: Iterable[str], said: Said = lambda _: None) -> ReadLines:
    """Files one after the other, as one stream; `said` gets the forms of them that had to be understood."""
    return lambda advance: (batch for name in files for batch in lines.batches(name, advance, said))


def read_policies(path: Path | None) -> PolicySet:
    """Raises ConfigError when the file cannot be read or says what no policy may."""
    if path is None:
        return PolicySet()
    try:
        return load_policies(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"--policy {path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, PolicyError) as error:
        raise ConfigError(f"--policy {path}: {error}") from None
