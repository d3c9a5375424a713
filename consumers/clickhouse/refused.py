"""Why ClickHouse does not take what it is given: one word for a metric, and what a person reads and does. Pure."""

import errno
import re
from typing import NamedTuple

LOGIN_CODES = frozenset({192, 193, 194, 516})  # unknown user, wrong or missing password, authentication failed
ACCESS_DENIED = 497
_CODE = re.compile(r"\b[Cc]ode: ?(\d+)")
_NO_SPACE = (f"errno: {errno.ENOSPC},", "No space left on device")


class Refusal(NamedTuple):
    """`reason` is a metric's label; `words` go on after "ClickHouse: "; `advice` is what to do."""

    reason: str
    words: str
    advice: str

    def __str__(self) -> str:
        return f"{self.words}: {self.advice}"


FULL = Refusal(
    "disk_full",
    "its disk is full",
    "give it more, or drop what may go (`andon forget`, the TTLs in docs/design.md); nothing is lost meanwhile",
)
# What a person does is another thing for each of these; by ClickHouse's numbers.
_BY_CODE = {
    243: FULL,
    252: Refusal(
        "too_many_parts",
        "a table has too many parts, for its merges do not keep up",
        "look at its disk, `system.merges` and `system.mutations`; larger batches (archive.batch_ms) make fewer parts",
    ),
    241: Refusal(
        "memory_limit",
        "its memory limit is reached",
        "see what else it runs (`system.processes`), or raise max_server_memory_usage or the user's max_memory_usage",
    ),
    242: Refusal(
        "read_only_table",
        "a replicated table is read-only, for it has lost ClickHouse Keeper",
        "mend Keeper, then `SYSTEM RESTART REPLICA` where `system.replicas` still says is_readonly",
    ),
    164: Refusal("read_only_user", "this user may only read", "use the writer (clickhouse.user), not a reader"),
    ACCESS_DENIED: Refusal(
        "no_right", "this user may not insert there", "grant it what deploy/clickhouse/users.sql grants the writer"
    ),
    **dict.fromkeys(
        LOGIN_CODES,
        Refusal(
            "login",
            "this user or its password is refused",
            "check clickhouse.user and its password (clickhouse.password_file, or the environment)",
        ),
    ),
    **dict.fromkeys(
        (16, 60, 81),  # no such column in the table, unknown table, unknown database
        Refusal("schema", "a table or column is not there", "`andon migrate` makes what this version needs"),
    ),
}
_AWAY = Refusal("unreachable", "it does not answer", "start it, or correct clickhouse.url")
_OTHER = Refusal("other", "it refuses them", "the archive's log has its words, and `andon doctor` asks it")
REASONS = sorted({each.reason for each in (*_BY_CODE.values(), _AWAY, _OTHER)})


def refusal(error: Exception) -> Refusal:
    """What an error of the client means. A full disk has more than one number: of a file, of a reservation."""
    words = str(error)
    if any(mark in words for mark in _NO_SPACE):
        return FULL
    code = code_of(error)
    return _BY_CODE.get(code, _OTHER) if code else _AWAY


def code_of(error: Exception) -> int:
    """ClickHouse's number of an error; 0 where it has none, as when no server has answered."""
    if code := getattr(error, "code", None):
        return int(code)
    found = _CODE.search(str(error))
    return int(found[1]) if found else 0
