"""Looks at a running line, every few seconds: everything at one moment, as far as it answers."""

import json
import time

from pipeline.bench.soak.judge import Look, Size
from pipeline.bench.soak.load import SoakLoad
from pipeline.bench.view import get
from pipeline.local.query import ask
from pipeline.local.stack import StackInfo
from pipeline.runtime.errors import AndonError
from pipeline.status.snapshot import Snapshot
from pipeline.status.watcher import Watcher

LOOK_SECONDS = 5.0

TABLE_BYTES = """
SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes, count() AS parts FROM system.parts
WHERE active AND database = 'andon' GROUP BY table ORDER BY table FORMAT JSONCompactEachRow"""


def look_of(seen: Snapshot, at: float) -> Look:
    """What a look keeps of a snapshot."""
    lags: dict[str, int] = {}
    speeds: dict[str, float] = {}
    for row in seen.groups:
        lags[row.group] = lags.get(row.group, 0) + row.lag_messages
        speeds[row.group] = speeds.get(row.group, 0.0) + row.messages_per_second
    return Look(at, {row.name: row.rss_bytes for row in seen.stages if row.rss_bytes}, lags, speeds)


def look(watcher: Watcher, info: StackInfo, at: float) -> Look:
    """Everything at one moment, as far as it answers."""
    try:
        rows = map(json.loads, ask(info, TABLE_BYTES).splitlines())
        sizes = {name: Size(*map(int, numbers)) for name, *numbers in rows}
    except AndonError:
        sizes = {}  # it is asked again soon
    shown = get(info.correlate_url + "/state") or {}
    return look_of(watcher.look(), at)._replace(
        tables=sizes,
        changelog_bytes=shown.get("changelog_bytes_total", 0),
        live_updates=sum(fleet["live_updates"] for fleet in shown.get("fleets", ())),
        remembered=sum(fleet["remembered_crashes"] for fleet in shown.get("fleets", ())),
    )


def watch(watcher: Watcher, info: StackInfo, load: SoakLoad, seconds: float) -> list[Look]:
    """Look until the time is over, or the load."""
    started = time.monotonic()
    looks: list[Look] = []
    while (at := time.monotonic() - started) < seconds and load.is_alive():
        looks.append(look(watcher, info, at))
        time.sleep(max(0.0, min(LOOK_SECONDS, seconds - (time.monotonic() - started))))
    return looks
