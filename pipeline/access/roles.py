"""Roles, their users, and what they need of a cluster: data (roles.toml, a file like it), read and laid out. Pure but
for reading."""

from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from pipeline.runtime.errors import ConfigError
from pipeline.runtime.wrong import did_you_mean
from pipeline.wire import topics

Operation = Literal["read", "write", "create", "describe", "describe_configs", "alter", "alter_configs"]
Kind = Literal["topic", "group", "transactional id"]
Names = Mapping[Operation, tuple[str, ...]]

ANY = "*"  # behind a name: all that begin so
OURS = "fleet."  # Andon's topics begin so


class Role(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What accounts of one kind do, who they are, and by operation the names that they need it on."""

    purpose: str
    users: tuple[str, ...]
    topics: Names = {}
    groups: Names = {}
    transactional_ids: Names = {}


Roles = Mapping[str, Role]


class Right(NamedTuple):
    """One operation on one name, or on all that begin so."""

    kind: Kind
    name: str
    is_prefix: bool
    operation: Operation

    def is_about(self, name: str) -> bool:
        """Whether that name is the one, or begins so."""
        return name.startswith(self.name) if self.is_prefix else name == self.name


class Grant(NamedTuple):
    """A right of a user; its name as the cluster has it."""

    user: str
    right: Right

    def __str__(self) -> str:
        kind, name, is_prefix, operation = self.right
        return f"User:{self.user} {operation} {kind} {name}{ANY if is_prefix else ''}"


def rights_of(role: Role) -> Iterator[Right]:
    """All that the role needs, as the file has it: without `topic_prefix`."""
    named: tuple[tuple[Kind, Names], ...] = (
        ("topic", role.topics),
        ("group", role.groups),
        ("transactional id", role.transactional_ids),
    )
    for kind, by_operation in named:
        for operation, names in by_operation.items():
            for name in names:
                yield Right(kind, name.removesuffix(ANY), name.endswith(ANY), operation)


def grants_of(roles: Roles, topic_prefix: str = "") -> list[Grant]:
    """All that all users of the roles need on a cluster, each once."""
    found = (
        Grant(user, right._replace(name=topic_prefix + right.name))
        for role in roles.values()
        for right in rights_of(role)
        for user in role.users
    )
    return list(dict.fromkeys(found))


def shipped() -> Roles:
    """The roles that Andon comes with: what its own stages and commands need."""
    return parse(resources.files("pipeline.access").joinpath("roles.toml").read_text("utf-8"), "roles.toml")


def read_roles(path: Path) -> Roles:
    """A file like deploy/acls.toml.

    Raises:
        ConfigError: when it cannot be read, or is not understood.
    """
    try:
        return parse(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def parse(text: str, source: str) -> Roles:
    """Raises ConfigError, naming the place and what would be right."""
    try:
        roles: dict[str, Role] = msgspec.toml.decode(text, type=dict[str, Role])
    except msgspec.DecodeError as error:
        raise ConfigError(f"{source}: {error}") from None
    for name, role in roles.items():
        _check(name, role, source)
    return roles


def _check(name: str, role: Role, source: str) -> None:
    if not role.users or not all(role.users):
        raise ConfigError(f"{source}: [{name}] has no users: an account's name, or several")
    known = [topic.name for topic in topics.ALL]
    for right in rights_of(role):
        if not right.name and not right.is_prefix:
            raise ConfigError(f"{source}: [{name}] {right.operation} names nothing")
        if right.kind == "topic" and right.name.startswith(OURS) and not any(map(right.is_about, known)):
            near = did_you_mean(right.name, known)
            raise ConfigError(f"{source}: [{name}] {right.operation} {right.name!r}: Andon has no such topic{near}")
