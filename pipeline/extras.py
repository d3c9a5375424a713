"""What a command needs beyond `pip install andon`: an extra, said before the command itself is loaded."""

import functools
import sys
from importlib.util import find_spec

from pipeline.runtime.errors import ConfigError

# By extra: what is imported of its packages in pyproject.toml, and what only processes begun by the command import.
LINE = (
    "aiohttp", "aiokafka", "clickhouse_connect", "cramjam", "faust", "numpy", "psutil", "pyarrow",
    "rich", "zstandard",
)  # fmt: skip
MODULES = {"line": LINE, "local": (*LINE, "chdb", "noida_db")}

# A command that is not here needs none.
NEEDED = {
    "up": "local", "status": "line", "demo": "local", "doctor": "line", "collect": "line", "combine": "line",
    "correlate": "line", "archive": "line", "clickhouse": "local", "migrate": "line", "query": "line",
    "backfill": "line", "forget": "line", "halts": "line", "audit": "line",
    "deadletter": "line", "replay": "line", "backtest": "line", "bench": "local",
}  # fmt: skip


def lacking(command: str) -> tuple[str, list[str]]:
    """The extra that the command needs, "" for none, and what is not there of it."""
    extra = NEEDED.get(command, "")
    return extra, _absent(extra)


def require(command: str) -> None:
    """Raises ConfigError, naming the extra that the command needs, when a module of it is not there."""
    extra, absent = lacking(command)
    if absent:
        raise ConfigError(f"{command} needs {', '.join(absent)}: pip install 'andon[{extra}]'")


@functools.cache
def _absent(extra: str) -> list[str]:
    # Of what is loaded already nobody asks: Faust puts another module in its own place, without a spec.
    return [module for module in MODULES.get(extra, ()) if module not in sys.modules and find_spec(module) is None]
