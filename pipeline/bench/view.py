"""The pages of a correlator."""

import json
import urllib.request
from typing import Any

TIMEOUT_SECONDS = 2.0


def get(url: str) -> Any:
    """The JSON of a page; None when there is none, or it says that the correlator is not ready."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None
