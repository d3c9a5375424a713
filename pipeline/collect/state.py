"""Whether the gateway can deliver, as its pages say it."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException

from pipeline.collect.forward import Forwarder
from pipeline.collect.tokens import TokenTable

TIMEOUT_SECONDS = 2.0
FRESH_SECONDS = 1.0  # however often it is asked, the broker is asked once a second


class GatewayState:
    """For any thread but the event loop's: it asks the broker."""

    def __init__(self, forwarder: Forwarder, tokens: TokenTable) -> None:
        self._forwarder, self._tokens = forwarder, tokens
        self._lock = threading.Lock()
        self._looked_at, self._trouble = float("-inf"), ""

    def now(self) -> Mapping[str, Any]:
        """Whether the broker answers and has our topics: `status` is "ok", or the word of what is wrong."""
        with self._lock:
            if time.monotonic() - self._looked_at > FRESH_SECONDS:
                self._trouble = self._look()
                self._looked_at = time.monotonic()
            trouble = self._trouble
        return {
            "why_not": [trouble] if trouble else [],
            "status": trouble or "ok",
            "buffered_events": self._forwarder.in_flight,
            "tokens_file": "unusable" if self._tokens.trouble else "ok",
        }

    def _look(self) -> str:
        try:
            missing = self._forwarder.missing_topics(TIMEOUT_SECONDS)
        except KafkaException as error:
            return f"broker unreachable: {error.args[0].str()}"
        return f"topics missing: {', '.join(missing)}" if missing else ""
