"""What ClickHouse has of the demo, asked over HTTP as anybody would."""

import base64
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from pipeline.demo.account import counted
from pipeline.local.stack import StackInfo
from pipeline.runtime.errors import AndonError

QUERY_SECONDS = 10.0
POLL_SECONDS = 0.2

COUNT = "SELECT count() FROM andon.events_once WHERE fleet = {fleet:String}"
TOP_CRASHES = """
SELECT signature_code, signature_module, uniqExact(host) AS hosts
FROM andon.events_once WHERE fleet = {fleet:String} AND kind = 'crash'
GROUP BY ALL ORDER BY hosts DESC, signature_code LIMIT 4 FORMAT TSVRaw"""


def ask(info: StackInfo, query: str, timeout_seconds: float = QUERY_SECONDS, **parameters: str) -> str:
    """The answer to a query, as text.

    Raises:
        AndonError: when ClickHouse does not answer, or refuses.
    """
    password = Path(info.clickhouse_reader_password_file).read_text("utf-8").strip()
    login = base64.b64encode(f"{info.clickhouse_reader}:{password}".encode()).decode()
    given = urllib.parse.urlencode({f"param_{name}": value for name, value in parameters.items()})
    request = urllib.request.Request(f"{info.clickhouse_url}/?{given}", query.encode())
    request.add_header("Authorization", f"Basic {login}")
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
            return str(answer.read().decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        detail = error.read(500).decode("utf-8", "replace")
        raise AndonError(f"ClickHouse refuses a query: {error.code}: {detail}") from None
    except OSError as error:
        raise AndonError(f"ClickHouse does not answer at {info.clickhouse_url}: {error}") from None


def wait_for_events(info: StackInfo, fleet: str, events: int, deadline: float) -> int:
    """How many of the fleet's events are stored, once all are, or at the deadline (monotonic clock)."""
    while (stored := int(ask(info, COUNT, fleet=fleet))) < events and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return stored


def top_crashes(info: StackInfo, fleet: str) -> list[str]:
    """The most frequent signatures, with the hosts that reported them."""
    rows = (line.split("\t") for line in ask(info, TOP_CRASHES, fleet=fleet).splitlines())
    return [f"{code:<6} {module:<20} reported by {counted(int(hosts), 'host', 6)}" for code, module, hosts in rows]
