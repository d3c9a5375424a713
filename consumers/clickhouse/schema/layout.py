"""One schema, two layouts: plain tables on one server, or replicated and sharded ones on a cluster. Pure.

On a cluster `events` is a Distributed table over `events_local` of every shard, and so is every other table; feeds run
where the rows are. Views need no change: they read the Distributed tables.
"""

import re
from typing import NamedTuple

LOCAL = "_local"
# {uuid}: a rebuilt table is exchanged for the old one, and both must be able to live beside each other.
_PATH = "'/clickhouse/tables/{uuid}/{shard}', '{replica}'"
_STATUS_PATH = "'/clickhouse/tables/{uuid}/all', '{shard}-{replica}'"  # one status for all shards

# A repeated batch must be known again however much later it comes. On one server only the number of batches is limited;
# replicated tables forget them after an hour, too, unless they are told otherwise. A batch waits for days at most.
_WINDOW = re.compile(r"non_replicated_deduplication_window = (\d+)")
WINDOW_SECONDS = 10 * 365 * 86_400

# All rows with one key must meet on one shard, for only there they merge.
_HOST, _FLEET = "cityHash64(fleet, host)", "cityHash64(fleet)"
SHARDING = {
    "events": _HOST,
    "crashes": _HOST,
    "hosts": _HOST,
    "halt_acks": "cityHash64(halt_key)",
    "dead_letters": "cityHash64(source_partition, source_offset)",
}

_CREATE_TABLE = re.compile(r"CREATE TABLE (\w+)")
_ENGINE = re.compile(r"ENGINE = (\w*MergeTree)(?:\((.*?)\))?")
_FEED = re.compile(r"CREATE MATERIALIZED VIEW (\w+) TO (\w+)")
_FROM_EVENTS = re.compile(r"^FROM events\b", re.MULTILINE)
_VIEW = re.compile(r"(CREATE|DROP) VIEW (\w+)")
_ALTER_VIEW = re.compile(r"ALTER VIEW (\w+)")
_ALTER = re.compile(r"ALTER TABLE (\w+)(?P<column> (?:ADD|MODIFY|DROP|RENAME|COMMENT) COLUMN )?")
_DROP_TABLE = re.compile(r"DROP TABLE (\w+)")


class Layout(NamedTuple):
    """`cluster` "" is one server."""

    database: str
    cluster: str = ""

    def local(self, table: str) -> str:
        """Where the rows are, on this server."""
        return table + LOCAL if self.cluster else table

    def name(self, table: str) -> str:
        """With its database."""
        return f"`{self.database}`.{table}"

    @property
    def everywhere(self) -> str:
        """What a statement about tables says so that every server runs it."""
        return f" ON CLUSTER `{self.cluster}`" if self.cluster else ""

    def statements(self, step: str) -> list[str]:
        """A migration's step as this layout has it. ALTER VIEW is a word of steps only: there are no rows behind it."""
        if (found := _ALTER_VIEW.match(step)) is not None:
            return [f"ALTER TABLE {found[1]}{self.everywhere}{step[found.end() :]}"]
        if not self.cluster:
            return [step]
        if (found := _CREATE_TABLE.match(step)) is not None:
            return self._create(found[1], step)
        if (found := _FEED.match(step)) is not None:
            head = f"CREATE MATERIALIZED VIEW {found[1]}{self.everywhere} TO {self.local(found[2])}"
            return [head + _FROM_EVENTS.sub(f"FROM {self.local('events')}", step[found.end() :])]
        if (found := _VIEW.match(step)) is not None:
            return [f"{found[0]}{self.everywhere}{step[found.end() :]}"]
        if (found := _ALTER.match(step)) is not None:
            return self._alter(found[1], step, column=found["column"] is not None)
        if (found := _DROP_TABLE.match(step)) is not None:
            both = (found[1], self.local(found[1]))
            return [f"DROP TABLE {name}{self.everywhere} SYNC{step[found.end() :]}" for name in both]
        raise ValueError(f"no rule for this step on a cluster: {step[:80]}")

    def _alter(self, table: str, step: str, *, column: bool) -> list[str]:
        """A Distributed table has columns of its own, whose defaults it fills in before it sends a row on; nothing else
        of it can be altered."""
        rest = step.removeprefix(f"ALTER TABLE {table}")
        names = (self.local(table), table) if column else (self.local(table),)
        return [f"ALTER TABLE {name}{self.everywhere}{rest}" for name in names]

    def _create(self, table: str, step: str) -> list[str]:
        local = self.replicated(f"CREATE TABLE {self.local(table)}{self.everywhere}{step[12 + 1 + len(table) :]}")
        key = SHARDING.get(table, _FLEET)
        over = f"Distributed(`{self.cluster}`, `{self.database}`, {self.local(table)}, {key})"
        return [local, f"CREATE TABLE {table}{self.everywhere} AS {self.local(table)} ENGINE = {over}"]

    def replicated(self, create: str, path: str = _PATH) -> str:
        """A statement that creates a MergeTree, with its engine replicated."""

        def engine(found: re.Match[str]) -> str:
            arguments = f"{path}, {found[2]}" if found[2] else path
            return f"ENGINE = Replicated{found[1]}({arguments})"

        window = rf"replicated_deduplication_window = \1, replicated_deduplication_window_seconds = {WINDOW_SECONDS}"
        return _WINDOW.sub(window, _ENGINE.sub(engine, create))

    def status(self, create: str) -> str:
        """The statement that creates the status table: every server sees the same one."""
        if not self.cluster:
            return create
        found = _CREATE_TABLE.search(create)
        assert found is not None, "the status table is a table"
        return self.replicated(create[: found.end()] + self.everywhere + create[found.end() :], _STATUS_PATH)
