"""`andon backfill`: make a table of ClickHouse anew from the raw events, while the stream runs."""

from datetime import datetime
from typing import Any

import click
from clickhouse_connect.driver.exceptions import Error

from consumers.clickhouse.archive import ArchiveConfig
from consumers.clickhouse.cluster import Layout
from consumers.clickhouse.connect import connect
from consumers.clickhouse.feeds import FILL_SECONDS, Feeds
from consumers.clickhouse.rebuild import Rebuild, between, first_complete_day
from pipeline.runtime.config import configured
from pipeline.runtime.errors import AndonError, ConfigError

DAY = click.DateTime(["%Y-%m-%d"])


@click.command("backfill")
@click.argument("table", metavar="AGGREGATE")
@click.option("--since", type=DAY, help="First day (UTC) to be made anew. Default: the last 89 days; older are kept.")
@click.option("--until", type=DAY, help="Last day. Default: no end.")
@click.option("--add", is_flag=True, help="Only add what is missing from the table; take nothing out of it.")
@click.option("--yes", is_flag=True, help="Also of days whose raw events have expired: what they say there is lost.")
@configured(("archive", ArchiveConfig))
def command(
    archive: ArchiveConfig, table: str, since: datetime | None, until: datetime | None, add: bool, yes: bool
) -> None:
    """Make a table anew from the raw events, while the stream runs. AGGREGATE is one of them, or "all".

    Raw events are kept for 90 days. What stands in a table about days before them is kept as it is, unless --since says
    otherwise; raw events of such days (old data, stored lately) are added.
    """
    first, last = (moment.date() if moment else None for moment in (since, until))
    if first is not None and first < first_complete_day() and not add and not yes:
        raise ConfigError(
            f"--since {first}: raw events before {first_complete_day()} may have expired, and what the table says of "
            "such days cannot be made anew. Name a later day, --add to take nothing out, or --yes"
        )
    try:
        # A statement goes on for long and says nothing meanwhile.
        client = connect(archive, timeout_seconds=FILL_SECONDS)
        feeds = Feeds(client, Layout(archive.database, archive.cluster))
        for feed in feeds.all().values() if table == "all" else [feeds.of(table)]:
            days = feeds.days(first, last)
            with click.progressbar(length=len(days), label=feed.table, file=click.get_text_stream("stderr")) as bar:

                def done(_: Any, bar: Any = bar) -> None:
                    bar.update(1)

                if add:
                    for day in feeds.fill(feed, feed.table, days):
                        done(day)
                else:
                    Rebuild(client, feeds, feed).run(between(first, last), days, done)
            click.echo(f"{feed.table}: {len(days)} days of raw events {'added' if add else 'made anew'}")
    except Error as error:
        raise AndonError(f"ClickHouse at {archive.clickhouse_url}: {error}") from None
