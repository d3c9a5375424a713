"""Wait for the INSERTs of this moment: afterwards, whatever is stored has gone through every feed there is now.

An INSERT decides at its beginning which views it feeds and into which tables, and shows its rows at its end. One that
began before a new view existed knows nothing of it, and may show its rows when a fill has read their day already: then
they are in neither. ClickHouse lists a statement in system.processes before it looks for its views, and until its rows
are there. So whatever was not yet listed after the view was created feeds it, and what was listed is waited for; by
its id, for clocks may differ. All INSERTs are, also those into other tables: one may reach `events` through a view.
"""

from typing import TYPE_CHECKING

from consumers.clickhouse.schema.feeds import SOURCE
from consumers.clickhouse.schema.layout import Layout
from pipeline.runtime.errors import AndonError
from pipeline.runtime.waiting import wait_for

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

WAIT_SECONDS = 600.0  # an INSERT of the archive takes a second
POLL_SECONDS = 0.05


def wait_for_inserts(
    client: "Client", layout: Layout, source: str = SOURCE, wait_seconds: float = WAIT_SECONDS
) -> None:
    """Return when every INSERT that runs now has ended, on whichever server, and replicas of `source` have its rows.

    Raises:
        AndonError: when one still runs after `wait_seconds`.
    """
    left = _running(client, layout)

    def ended() -> bool:
        for which in left.keys() - _running(client, layout).keys():
            del left[which]
        return not left

    if left and not wait_for(ended, wait_seconds, POLL_SECONDS):
        named = "; ".join(f"{query_id} ({text})" for (_, query_id), text in sorted(left.items())[:3])
        raise AndonError(
            f"{len(left)} INSERTs that began before the new feed still run after {wait_seconds:.0f} s, and their rows "
            f"could be lost to it: try again when they have ended: {named}"
        )
    if layout.cluster:  # stored on one replica; a fill may read from another
        client.command(synced(layout, source))


def synced(layout: Layout, source: str = SOURCE) -> str:
    """The statement that ends when every replica of the source has what any of its shard had at its beginning."""
    return f"SYSTEM SYNC REPLICA{layout.everywhere} {layout.name(layout.local(source))} LIGHTWEIGHT"


def _running(client: "Client", layout: Layout) -> dict[tuple[str, str], str]:
    """The beginnings of INSERTs, by server and id."""
    source = f"clusterAllReplicas('{layout.cluster}', system.processes)" if layout.cluster else "system.processes"
    sql = (
        f"SELECT hostName(), query_id, substring(replaceRegexpAll(query, '\\\\s+', ' '), 1, 60) FROM {source} "
        "WHERE query_kind IN ('Insert', 'AsyncInsertFlush')"
    )
    return {(server, query_id): text for server, query_id, text in client.query(sql).result_rows}
