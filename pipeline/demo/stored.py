"""What ClickHouse has of the demo."""

from pipeline.demo.account import counted
from pipeline.local.query import ask
from pipeline.local.stack import StackInfo
from pipeline.runtime.waiting import wait_for

POLL_SECONDS = 0.2

COUNT = "SELECT count() FROM andon.events_once WHERE fleet = {fleet:String}"
TOP_CRASHES = """
SELECT signature_code, signature_module, uniqExact(host) AS hosts
FROM andon.events_once WHERE fleet = {fleet:String} AND kind = 'crash'
GROUP BY ALL ORDER BY hosts DESC, signature_code LIMIT 4 FORMAT TSVRaw"""


def wait_for_events(info: StackInfo, fleet: str, events: int, seconds: float) -> int:
    """How many of the fleet's events are stored, once all are, or when the time is up."""
    stored = 0

    def all_there() -> bool:
        nonlocal stored
        stored = int(ask(info, COUNT, fleet=fleet))
        return stored >= events

    wait_for(all_there, seconds, POLL_SECONDS)
    return stored


def top_crashes(info: StackInfo, fleet: str) -> list[str]:
    """The most frequent signatures, with the hosts that reported them."""
    rows = (line.split("\t") for line in ask(info, TOP_CRASHES, fleet=fleet).splitlines())
    return [f"{code:<6} {module:<20} reported by {counted(int(hosts), 'host', 6)}" for code, module, hosts in rows]
