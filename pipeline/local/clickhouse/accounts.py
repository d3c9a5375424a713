"""Who may come in through the local endpoint, and as what. The engine has one user; what it may do is a role of
users.xml, set anew for every request, and the engine's own access control decides. What that is not asked
about (guard.py), every account with a role is refused before.
"""

import hmac
from collections.abc import Mapping
from typing import NamedTuple

OWNER, READER, GRAFANA, WRITER = "andon", "andon_read", "andon_grafana", "andon_write"  # accounts, by default
WRITER_ROLE = "andon_writer"

# Of every statement of a limited account; a request may ask for less.
ANALYST_LIMITS = {"max_execution_time": 60, "max_memory_usage": 8 << 30, "max_result_rows": 10_000_000}
GRAFANA_LIMITS = {"max_execution_time": 15, "max_memory_usage": 4 << 30, "max_result_rows": 1_000_000}


class Account(NamedTuple):
    """`role` "" is every role; `readonly` is ClickHouse's setting of that name: 2 may change settings, but no limit."""

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

    def limited(self, settings: dict[str, str]) -> dict[str, str]:
        """The settings of a request, none above this account's limits; 0 stands for no limit, and is none here."""
        mine = dict(settings)
        for name, limit in self.limits.items():
            wanted = mine.get(name, "")
            mine[name] = str(min(int(wanted), limit) if wanted.isdecimal() and int(wanted) else limit)
        return mine


def owner(name: str, password: str) -> Account:
    """May do everything but reach out of the engine: migrations, backfills, the archive of a local line."""
    return Account(name, password)


def writer(name: str, password: str) -> Account:
    """May only insert."""
    return Account(name, password, WRITER_ROLE)


def analyst(name: str, password: str) -> Account:
    """May only read tables that are not the server's own, with generous limits."""
    return Account(name, password, "andon_reader", 2, ANALYST_LIMITS)


def grafana(name: str, password: str) -> Account:
    """The same for dashboards, which ask often and must not wait for each other."""
    return Account(name, password, "andon_reader", 2, GRAFANA_LIMITS)


def find(accounts: list[Account], name: str, password: str) -> Account | None:
    """None for a wrong password and for an account without one."""
    found = None
    for account in accounts:
        right = hmac.compare_digest(password.encode(), account.password.encode())
        if account.password and account.name == name and right:
            found = account
    return found
