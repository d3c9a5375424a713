"""Events of one fleet as lines of a file."""

import json
from typing import Any

NOW_MS = 1_721_362_140_000


def line(number: int = 0, ts: int = NOW_MS, **fields: Any) -> bytes:
    """A heartbeat of host `number`, with other fields where given."""
    event = {
        "v": 1,
        "id": f"e{number}",
        "kind": "heartbeat",
        "fleet": "acme",
        "host": f"h{number}",
        "ts": ts,
        "ring": "broad",
        "os": "linux",
        "model": "vm",
        "updates": [{"vendor": "v", "product": "p", "version": "1", "installed_at": NOW_MS - 3_600_000}],
    }
    return json.dumps(event | fields).encode()
