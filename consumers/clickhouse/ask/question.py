"""What is asked: a query's name or SQL, and the parameters that it takes. Pure, but for reading the guide."""

from collections.abc import Mapping
from typing import NamedTuple

from consumers.clickhouse.ask.named import Named, types_of
from consumers.clickhouse.ask.names_in import names_in
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.wrong import did_you_mean


class AsWritten:
    """A parameter that goes to ClickHouse as it is written; a string the client would escape first."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


Parameters = dict[str, str | AsWritten]


class Question(NamedTuple):
    """`name` is "" of free SQL; `given` are its parameters."""

    name: str
    sql: str
    given: dict[str, str]
    notes: str = ""

    @property
    def bound(self) -> Parameters:
        """Arrays, maps and tuples are written as in SQL, with quotes and backslashes of their own."""
        nested = {name for name, kind in types_of(self.sql).items() if kind.startswith(("Array(", "Map(", "Tuple("))}
        return {name: AsWritten(value) if name in nested else value for name, value in self.given.items()}

    @property
    def names(self) -> list[tuple[str, str]]:
        """Of free SQL: what it names, and how."""
        return [] if self.name else list(names_in(self.sql, self.given))


def question(what: str, given: tuple[str, ...], named: Mapping[str, Named]) -> Question:
    """Raises ConfigError when it is neither a name nor SQL, or its parameters are not those that it takes."""
    parameters = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"--param {pair!r}: should be NAME=VALUE")
        parameters[name] = value
    if what not in named:
        if not any(character.isspace() for character in what):
            near = did_you_mean(what, named)
            raise ConfigError(f"no query is named {what!r}; `andon query` lists them, and SQL has a space in it{near}")
        _check_parameters("the SQL", types_of(what), parameters)
        return Question("", what.rstrip().removesuffix(";"), parameters)
    wanted = named[what].parameters
    _check_parameters(what, wanted, parameters)
    if missing := [name for name in wanted if name not in parameters]:
        raise ConfigError(f"{what} needs " + ", ".join(f"--param {name}=…" for name in missing))
    return Question(what, named[what].sql, parameters, named[what].notes)


def _check_parameters(what: str, wanted: dict[str, str], given: dict[str, str]) -> None:
    """None is given in vain: it would be one that is misspelt."""
    if unknown := next((name for name in given if name not in wanted), ""):
        takes, near = ", ".join(wanted) or "none", did_you_mean(unknown, wanted)
        raise ConfigError(f"--param {unknown}=…: {what} has no such parameter; it takes {takes}{near}")
