"""Questions to a local line's ClickHouse, over HTTP as anybody would."""

import base64
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from pipeline.local.stack import StackInfo
from pipeline.runtime.errors import AndonError

QUERY_SECONDS = 10.0


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
