"""The named queries: those of docs/analysts.md, and nowhere else."""

import itertools
import re
from importlib import resources
from typing import NamedTuple

_BLOCK = re.compile(r"^```sql name=([a-z-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PARAMETER = re.compile(r"\{\s*(\w+)\s*:\s*([^}]+?)\s*\}")


class Named(NamedTuple):
    """A query of the guide: it begins with a comment whose first line says what it is about, the others what its
    numbers are."""

    name: str
    sql: str

    @property
    def about(self) -> str:
        """A sentence."""
        return self.sql.partition("\n")[0].removeprefix("-- ")

    @property
    def notes(self) -> str:
        """Words, or ""."""
        lines = itertools.takewhile(lambda line: line.startswith("-- "), self.sql.splitlines())
        return " ".join(line.removeprefix("-- ") for line in lines).removeprefix(self.about).strip()

    @property
    def parameters(self) -> dict[str, str]:
        """In order of appearance."""
        return types_of(self.sql)


def types_of(sql: str) -> dict[str, str]:
    """The parameters that SQL takes, by name with their ClickHouse type, in order of appearance."""
    return dict(_PARAMETER.findall(sql))


def queries() -> dict[str, Named]:
    """By name, in the order of the page."""
    text = resources.files("consumers.clickhouse.ask").joinpath("analysts.md").read_text("utf-8")
    return {name: Named(name, sql.strip()) for name, sql in _BLOCK.findall(text)}
