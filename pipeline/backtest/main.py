"""`andon backtest`: what would have been halted, when, and on what evidence."""

from datetime import UTC, datetime
from pathlib import Path

import click

from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.config import configured
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.partials import PartialsConfig
from pipeline.wire.hosts import HostNames, HostsConfig

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
@click.option("--from-kafka", is_flag=True, help="Judge the partials that Kafka keeps, with all that people decided.")
@configured(
    ("clickhouse", ClickHouseConfig),
    ("kafka", KafkaConfig),
    ("trust", TrustConfig),
    ("partials", PartialsConfig),
    ("hosts", HostsConfig),
    unused=("cluster", "timeout_seconds"),
)
def command(
    clickhouse: ClickHouseConfig,
    kafka: KafkaConfig,
    trust: TrustConfig,
    partials: PartialsConfig,
    hosts: HostsConfig,
    files: tuple[str, ...],
    policy: Path | None,
    as_json: bool,
    from_clickhouse: bool,
    from_kafka: bool,
    since: datetime | None,
    until: datetime | None,
    fleet: str,
) -> None:
    """What would have been halted? Read NDJSON events (plain, gzip or zstd; "-" is standard input) and decide.

    Several files are read one after the other, as one stream: name them in the order of their time. With
    --from-clickhouse there are no files; the last lines say what differs from the halts that went out. So with
    --from-kafka, which repeats what people decided, each at the partial that its answer names. Exit code 1 when
    there is no event, or most lines are none, or nothing could be judged: that is no pass.
    """
    if bool(files) + from_clickhouse + from_kafka != 1 or (from_clickhouse and since is None):
        raise ConfigError("name FILEs, or --from-clickhouse with --since, or --from-kafka")
    if since and until and until <= since:
        raise ConfigError(f"--until {until} is not after --since {since}")
    if not from_clickhouse:
        _refuse(since=since, until=until, fleet=fleet)
    from pipeline.backtest import asked, stored  # here: help does not wait for them
    from pipeline.backtest.from_kafka import of_kafka

    if from_kafka:
        of_kafka(policy, kafka, trust, partials, as_json)
    elif files:
        asked.of_files(policy, HostNames(hosts.kept), files, as_json)
    else:
        first, last = ((moment or NEVER).replace(tzinfo=UTC) for moment in (since, until))
        asked.of_stored(policy, clickhouse, HostNames(hosts.kept), stored.Span(first, last, fleet), as_json)


def _refuse(**options: object) -> None:
    """Nothing is passed over in silence."""
    for name, value in options.items():
        if value:
            raise click.UsageError(f"--{name} needs --from-clickhouse: of a FILE, and of Kafka, every event is read")
