"""Who may come in through the local endpoint, and as what. The engine has one user; what it may do is a role of
users.xml, set anew for every request, and the engine's own access control decides. What that is not asked
about (guard.py), every account with a role is refused before.
"""

import hmac
from collections.abc import Mapping
from typing import NamedTuple

from pipeline.local.clickhouse.confine import unavailable

OWNER, READER, GRAFANA, WRITER = "andon", "andon_read", "andon_grafana", "andon_write"  # accounts, by default
WRITER_ROLE = "andon_writer"

# Of every statement of a limited account; a request may ask for less.
ANALYST_LIMITS = {"max_execution_time": 60, "max_memory_usage": 8 << 30, "max_result_rows": 10_000_000}
ANALYST_LIMITS |= {"max_result_bytes": 4 << 30}
GRAFANA_LIMITS = {"max_execution_time": 15, "max_memory_usage": 4 << 30, "max_result_rows": 1_000_000}
GRAFANA_LIMITS |= {"max_result_bytes": 512 << 20}
CHANGEABLE = frozenset({"max_execution_time"})  # with readonly = 1, as a server's profile says it
# Shares of the process's memory: with every place of theirs taken (places.py) a quarter is left for inserts.
ANALYST_SHARE, GRAFANA_SHARE = 6, 12


class Account(NamedTuple):
    """`role` "" is every role; `readonly` is ClickHouse's setting of that name: 2 may change settings, but no limit,
    and 1 only what CHANGEABLE names."""

    name: str
    password: str
    role: str = ""
    readonly: int = 0
    limits: Mapping[str, int] = {}

    @property
    def profile(self) -> str:
        """The settings profile of users.xml whose constraints hold for its statements."""
        if not self.role:
            return ""
        return "andon_limited" if self.limits else "andon_guarded"

    def refused(self, settings: Mapping[str, str]) -> str:
        """The setting of a request that a server would refuse, "" for none: of an account with readonly = 1."""
        for name, value in settings.items() if self.readonly == 1 else ():
            if name not in CHANGEABLE or not value.isdecimal() or not 0 < int(value) <= self.limits[name]:
                return name
        return ""

    def limited(self, settings: Mapping[str, str], limits: Mapping[str, int]) -> dict[str, str]:
        """The settings of a request, none above `limits` or this account's; 0 stands for no limit, and is none here."""
        mine = dict(settings)
        for name in limits.keys() | self.limits.keys():
            wanted = mine.get(name, "")
            most = min(each[name] for each in (limits, self.limits) if name in each)
            mine[name] = str(min(int(wanted), most) if wanted.isdecimal() and int(wanted) else most)
        return mine


def owner(name: str, password: str) -> Account:
    """May do everything but reach out of the engine: migrations, backfills, the archive of a local line."""
    return Account(name, password)


def writer(name: str, password: str) -> Account:
    """May only insert."""
    return Account(name, password, WRITER_ROLE)


def analyst(name: str, password: str, memory_bytes: int) -> Account:
    """May only read tables that are not the server's own, with generous limits; `memory_bytes` is the process's."""
    return Account(name, password, "andon_reader", 2, _within(ANALYST_LIMITS, memory_bytes // ANALYST_SHARE))


def grafana(name: str, password: str, memory_bytes: int) -> Account:
    """May only read what is for dashboards, which ask often and must not wait for each other."""
    return Account(name, password, "andon_dashboard", 1, _within(GRAFANA_LIMITS, memory_bytes // GRAFANA_SHARE))


def _within(limits: dict[str, int], memory_bytes: int) -> dict[str, int]:
    return limits | {"max_memory_usage": min(limits["max_memory_usage"], memory_bytes)}


def unconfined() -> str:
    """Why a ClickHouse on this machine lets in its owner alone, "" where the others may come as well."""
    return unavailable()


def find(accounts: list[Account], name: str, password: str) -> Account | None:
    """None for a wrong password and for an account without one."""
    found = None
    for account in accounts:
        right = hmac.compare_digest(password.encode(), account.password.encode())
        if account.password and account.name == name and right:
            found = account
    return found
