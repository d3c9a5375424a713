"""What a command needs beyond `pip install andon`: an extra, said before the command itself is loaded."""

import functools
import sys
from importlib.util import find_spec

from pipeline.runtime.errors import ConfigError

# By extra: what is imported of its packages in pyproject.toml, and what only processes begun by the command import.
LINE = (
    "aiohttp", "aiokafka", *(("backports.zstd",) if sys.version_info < (3, 14) else ()), "clickhouse_connect",
    "cramjam", "faust", "numpy", "pyarrow", "pyrage", "rich", "urllib3", "zstandard",
)  # fmt: skip
BAKEOFF = (*LINE, "ruptures", "scipy", "statsmodels")
MODULES = {"line": LINE, "local": (*LINE, "chdb", "noida_db"), "bakeoff": BAKEOFF}

# A command that is not here needs none.
NEEDED = {
    "up": "local", "status": "line", "demo": "local", "doctor": "line", "collect": "line", "combine": "line",
    "correlate": "line", "archive": "line", "clickhouse": "local", "migrate": "line", "query": "line",
    "backfill": "line", "forget": "line", "backup": "line", "notify": "line", "deadletter": "line", "replay": "line",
    "backtest": "line", "hosts-to-restore": "line", "bench": "local", "bakeoff": "bakeoff",
    "plan": "bakeoff",
}  # fmt: skip


def lacking(command: str) -> tuple[str, list[str]]:
    """The extra that the command needs, "" for none, and what is not there of it."""
    extra = NEEDED.get(command, "")
    return extra, [module for module in MODULES.get(extra, ()) if not _is_there(module)]


def require(command: str) -> None:
    """Raises ConfigError, naming the extra that the command needs, when a module of it is not there."""
    extra, absent = lacking(command)
    if absent:
        raise ConfigError(f"{command} needs {', '.join(absent)}: {_install(extra)}")


def missing(module: str, extra: str) -> str:
    """For a command of which only a part needs this module of an extra: what to do to have it, "" when it is there."""
    return "" if _is_there(module) else f"{module} is not installed: {_install(extra)}"


def require_module(module: str, extra: str, why: str) -> None:
    """Raises ConfigError when it is missing. `why`: the setting that wants it."""
    if absent := missing(module, extra):
        raise ConfigError(f"{why}: {absent}")


def _install(extra: str) -> str:
    return f"pip install 'andon[{extra}]'"


@functools.cache
def _is_there(module: str) -> bool:
    # Of what is loaded already nobody asks: Faust puts another module in its own place, without a spec.
    try:
        return module in sys.modules or find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False
