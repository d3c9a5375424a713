"""One Alertmanager, by its HTTP interface (v2)."""

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from consumers.notify.alerts import Alert
from consumers.notify.config import Access
from pipeline.runtime.errors import AndonError
from pipeline.runtime.logging import printable

PATH = "/api/v2/alerts"
AT_ONCE = 200  # alerts of one request
SAID_CHARS = 300  # of a refusal
BAD_REQUEST = 400


class Refused(AndonError):
    """It answered, and does not take what was sent."""


class Alertmanager:
    """For one thread. Every request ends in time."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=1,
            retries=False,
            timeout=urllib3.Timeout(total=access.timeout_seconds),
            ssl_context=ssl.create_default_context(cafile=access.ca_file or None),
        )

    def post(self, alerts: Sequence[Alert], now_ms: int, hold_seconds: float) -> None:
        """Tell it of these, at most AT_ONCE. One that fires does so until it is said to be resolved, or for
        `hold_seconds`.

        Raises:
            Refused: when it does not take them (the others of them it may have taken).
            AndonError: when it does not answer.
        """
        body = msgspec.json.encode([_posted(alert, now_ms, hold_seconds) for alert in alerts])
        try:
            answer = self._pool.request("POST", self._access.url.rstrip("/") + PATH, body=body, headers=self._headers())
        except (HTTPError, OSError) as error:
            raise AndonError(f"{self._access.url} does not answer: {printable(str(error))[:SAID_CHARS]}") from None
        if answer.status >= BAD_REQUEST:
            said = printable(answer.data[:SAID_CHARS].decode("utf-8", "backslashreplace").strip())
            kind = Refused if answer.status == BAD_REQUEST else AndonError
            raise kind(f"{self._access.url} answers {answer.status}: {said}")

    def _headers(self) -> dict[str, str]:
        found = {"Content-Type": "application/json"}
        if self._access.token_file:
            found["Authorization"] = f"Bearer {Path(self._access.token_file).read_text().strip()}"
        return found


def _posted(alert: Alert, now_ms: int, hold_seconds: float) -> dict[str, Any]:
    starts_at = min(alert.starts_at, now_ms)
    ends_at = now_ms + int(hold_seconds * 1000) if alert.fires else max(now_ms, starts_at + 1)
    return {
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": _rfc3339(starts_at),
        "endsAt": _rfc3339(ends_at),
    }


def _rfc3339(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")
