"""`andon backfill`: make a table of ClickHouse anew from the raw events, while the stream runs."""

from datetime import date, datetime
from typing import Any

import click

from consumers.clickhouse.connect import ClickHouseConfig, connect
from consumers.clickhouse.schema.feeds import FILL_SECONDS, SUFFIX, Feed, Feeds
from consumers.clickhouse.schema.layout import Layout
from consumers.clickhouse.upkeep.rebuild import COMPLETE_DAYS, TIME, Progress, Rebuild, between, first_complete_day
from pipeline.runtime.config import configured
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.say import say

DAY = click.DateTime(["%Y-%m-%d"])


@click.command("backfill")
@click.argument("table", metavar="AGGREGATE")
@click.option("--since", type=DAY, help="First day (UTC) to be made anew. Default: the last 89 days; older are kept.")
@click.option("--until", type=DAY, help="Last day. Default: no end.")
@click.option("--add", is_flag=True, help="Only add what is missing from the table; take nothing out of it.")
@click.option("--yes", is_flag=True, help="Since before the last 89 days: lose what only the table remembers of them.")
@configured(("clickhouse", ClickHouseConfig), unused=("timeout_seconds",))
def command(
    clickhouse: ClickHouseConfig, table: str, since: datetime | None, until: datetime | None, add: bool, yes: bool
) -> None:
    """Make a table anew from the raw events, while the stream runs. AGGREGATE is one of them, or "all".

    Raw events are kept for 90 days. What stands in a table about days before them is kept as it is: --since says
    otherwise only together with --yes. Raw events of such days (old data, stored lately) are added.
    """
    first, last = (moment.date() if moment else None for moment in (since, until))
    if first and last and last < first:
        raise ConfigError(f"--until {last} is before --since {first}")
    if first and not add and not yes:
        _refuse_expired(first)
    from clickhouse_connect.driver.exceptions import Error  # here: help does not wait for it

    try:
        # A statement goes on for long and says nothing meanwhile.
        client = connect(clickhouse, timeout_seconds=FILL_SECONDS)
        feeds = Feeds(client, Layout(clickhouse.database, clickhouse.cluster))

        def one(feed: Feed, progress: Progress) -> int:
            if add:
                return _add(feeds, feed, feeds.days(first, last), progress)
            rebuild = Rebuild(client, feeds, feed, expired=yes)
            return rebuild.run(between(first, last), lambda: feeds.days(first, last), progress)

        for feed in _all(feeds) if table == "all" else [feeds.of(table)]:
            with click.progressbar(length=0, label=feed.table, file=click.get_text_stream("stderr")) as bar:

                def done(of: int, bar: Any = bar) -> None:
                    bar.length = of
                    bar.update(1)

                days = one(feed, done)
            done_days = f"{days} day{'' if days == 1 else 's'} of raw events"
            say(f"{feed.table}: {done_days} {'added' if add else 'made anew'}")
    except Error as error:
        raise AndonError(f"ClickHouse at {clickhouse.url}: {error}") from None


def _all(feeds: Feeds) -> list[Feed]:
    """Raises AndonError when a feed is missing: to leave its table out would look like success."""
    found = feeds.all()
    if lost := [table + SUFFIX for table in TIME if table not in found]:
        raise AndonError(f"missing: {', '.join(lost)}; nothing was made anew. See `andon migrate --status`")
    return list(found.values())


def _refuse_expired(since: date) -> None:
    """Raises ConfigError when there are no longer all raw events of that day."""
    first = first_complete_day()
    if since < first:
        raise ConfigError(
            f"--since {since}: raw events of days before {first} may have expired, and what stands about these days "
            f"would be lost. The first day that can be made anew is {first} ({COMPLETE_DAYS} days ago); --add only "
            "adds; --yes does it all the same"
        )


def _add(feeds: Feeds, feed: Feed, days: list[date], progress: Progress) -> int:
    for _ in feeds.fill(feed, feed.table, days):
        progress(len(days))
    return len(days)
