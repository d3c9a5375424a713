"""Settings that once had another name. An old name is refused, never passed over: what it said would be lost."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pipeline.runtime.errors import ConfigError
from pipeline.runtime.secrets import is_secret


class Setting(NamedTuple):
    """Section and key."""

    section: str
    key: str

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return f"ANDON_{self.section}_{self.key}".upper()

    def __str__(self) -> str:
        return f"{self.section}.{self.key}"


_ADDRESS = {
    "clickhouse_url": "url",
    "clickhouse_user": "user",
    "clickhouse_password": "password",
    "clickhouse_password_file": "password_file",
    "database": "database",
    "cluster": "cluster",
    "timeout_seconds": "timeout_seconds",
}
_ACCOUNTS = [f"{who}_{what}" for who in ("read", "grafana", "write") for what in ("user", "password", "password_file")]
_ENGINE = ("data_dir", "host", "port", *_ACCOUNTS, "max_execution_time_seconds", "max_body_bytes")

RENAMED = {Setting("archive", old): Setting("clickhouse", new) for old, new in _ADDRESS.items()} | {
    Setting("clickhouse", key): Setting("engine", key) for key in _ENGINE
}


def refuse_in_file(file: object, document: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ConfigError for an old name in any section: one file serves all commands."""
    for old, new in RENAMED.items():
        if old.key in document.get(old.section, {}):
            raise _refused(old, old, new, document[old.section][old.key], f" (set by {file})")


def refuse_in_environment(section: str, environ: Mapping[str, str]) -> None:
    """Raises ConfigError for the old name of a setting that this section has now. (Of other sections it may be
    somebody else's: Kubernetes sets ANDON_CLICKHOUSE_PORT beside a service of that name.)"""
    for old, new in given(section, environ):
        raise _refused(old, old.variable, new.variable, environ[old.variable])


def is_old(variable: str) -> bool:
    """Whether a setting once had this name in the environment."""
    return any(variable == old.variable for old in RENAMED)


def given(section: str, environ: Mapping[str, str]) -> Iterator[tuple[Setting, Setting]]:
    """Old names in the environment whose settings are this section's now, each with its new one."""
    return ((old, new) for old, new in RENAMED.items() if new.section == section and old.variable in environ)


def _refused(old: Setting, was: object, now: object, value: Any, source: str = "") -> ConfigError:
    shown = "***" if is_secret(old.key) else repr(value)
    return ConfigError(f"{was} = {shown}{source}: this is called {now} now")
