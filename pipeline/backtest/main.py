"""`andon backtest`: what would have been halted, when, and on what evidence."""

from datetime import UTC, datetime
from pathlib import Path

import click

from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.runtime.config import configured
from pipeline.runtime.errors import ConfigError

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
    from pipeline.backtest import asked, stored  # here: help does not wait for them

    if not from_clickhouse:
        asked.of_files(policy, files, as_json)
        return
    first, last = ((moment or NEVER).replace(tzinfo=UTC) for moment in (since, until))
    asked.of_stored(policy, clickhouse, stored.Span(first, last, fleet), as_json)


def _refuse(**options: object) -> None:
    """Nothing is passed over in silence."""
    for name, value in options.items():
        if value:
            raise click.UsageError(f"--{name} needs --from-clickhouse: of a FILE every event is read")
