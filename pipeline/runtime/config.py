"""Configuration: a frozen struct beside its component, filled from TOML, environment and command line, in that order.

`[section] key` in the file, `ANDON_SECTION_KEY` in the environment, `--key` on the command line. A secret may be given
as itself or as `…_file`, the file that holds it: the way that the higher level takes holds.
"""

import functools
import os
import re
import tomllib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import click
import msgspec

from pipeline.runtime import renamed
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.secrets import is_secret, refuse_other_readers
from pipeline.runtime.wrong import Wrong, convert, did_you_mean

S = TypeVar("S", bound=msgspec.Struct)
F = TypeVar("F", bound=Callable[..., Any])

Values = dict[str, tuple[Any, str]]  # by key: the value, and where it was set

# Every section that a file may have: one file serves all commands, and none passes over a misspelt one.
SECTIONS = (
    "kafka",
    "metrics",
    "partials",
    "hosts",
    "collect",
    "combine",
    "correlate",
    "archive",
    "clickhouse",
    "engine",
    "up",
    "status",
    "doctor",
    "trust",
    "subscriber",
    "notify",
    "backup",
)

# Variables that are no key of a section; and such as Kubernetes sets beside a service whose name begins with "andon".
OTHER_VARIABLES = ("ANDON_CONFIG", "ANDON_DATA_DIR")
_ALIKE = 0.85  # for all of a section begin alike
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$|^ANDON_PORT$")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")  # what tells Kubernetes' ANDON_COLLECT_PORT from ours


def read_toml(path: Path) -> dict[str, Any]:
    """Raises ConfigError when the file is missing or is not TOML."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def load(cls: type[S], section: str, *, file: Path | None, environ: Mapping[str, str], options: Mapping[str, Any]) -> S:
    """The effective configuration of one section; `options` by the names that `option_names` gives them.

    Raises:
        ConfigError: naming key, value, source and what would be right.
    """
    renamed.refuse_in_environment(section, environ)
    names = option_names(cls)
    known = {field.name for field in msgspec.structs.fields(cls)}
    _refuse_unknown(section, known, environ)
    values: Values = {}
    for given in (
        _of_file(section, known, file),
        {
            key: (environ[name], name)
            for key in known
            if (name := f"ANDON_{section}_{key}".upper()) in environ and not _is_service_link(name, environ[name])
        },
        {key: (options[name], _flag(name)) for key, name in names.items() if options.get(name) is not None},
    ):
        values = _over(values, given)
    return _convert(cls, section, values)


def refuse_strangers(environ: Mapping[str, str]) -> None:
    """Raises ConfigError for a variable that looks like a setting of ours, of a section that there is not."""
    sections = tuple(f"ANDON_{section}_".upper() for section in SECTIONS)
    for name in sorted(environ):
        if name.startswith("ANDON_") and not name.startswith(sections) and not _is_no_setting(name, environ[name]):
            others = " and ".join(OTHER_VARIABLES)
            near = did_you_mean(name.split("_")[1], (*SECTIONS, "config", "data"))
            raise ConfigError(
                f"{name} is set in the environment, and nothing reads it; beside {others} a variable is "
                f"ANDON_SECTION_KEY, of section {', '.join(SECTIONS)}{near}"
            )


def _refuse_unknown(section: str, known: Set[str], environ: Mapping[str, str]) -> None:
    """A misspelt variable is not passed over. Its value stays unsaid: it may be a secret under a misspelt name."""
    prefix = f"ANDON_{section}_".upper()
    variables = {prefix + key.upper() for key in known}
    for name in sorted(environ):
        if name.startswith(prefix) and name not in variables and not _is_no_setting(name, environ[name]):
            keys = ", ".join(sorted(known))
            raise ConfigError(
                f"{name} is set in the environment, and section {section} has no such key; known: {keys}"
                f"{did_you_mean(name, sorted(variables), alike=_ALIKE)}"
            )


def _is_no_setting(name: str, value: str) -> bool:
    """Whether it is none that could be misspelt: somebody else's, or a setting's old name, which is spoken of apart."""
    return name in OTHER_VARIABLES or renamed.is_old(name) or _is_service_link(name, value)


def _is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes sets it, for a service of that name."""
    is_url = name.endswith("_PORT") and _SERVICE_URL.match(value) is not None
    return is_url or _SERVICE_LINK.search(name) is not None


def concerns(section: str, environ: Mapping[str, str]) -> bool:
    """Whether the environment says something to this section, be it by an old name."""
    prefix = f"ANDON_{section.upper()}_"
    ours = (name for name, value in environ.items() if name.startswith(prefix) and not _is_service_link(name, value))
    return any(ours) or any(renamed.given(section, environ))


def _of_file(section: str, known: Set[str], file: Path | None) -> Values:
    values: Values = {}
    for key, value in _sections(file).get(section, {}).items() if file is not None else ():
        if key not in known:  # its value stays unsaid: it may be a secret under a misspelt name
            near = did_you_mean(key, known)
            raise ConfigError(f"{file}: unknown key {section}.{key}; known: {', '.join(sorted(known))}{near}")
        if file is not None and value and is_secret(key):
            refuse_other_readers(file, f"[{section}] {key}")
        values[key] = (value, str(file))
    return values


def _sections(file: Path) -> dict[str, dict[str, Any]]:
    document = read_toml(file)
    for name, table in document.items():
        if name not in SECTIONS:
            what = f"section [{name}]" if isinstance(table, dict | list) else f"key {name} outside of any section"
            raise ConfigError(
                f"{file}: unknown {what}; known: {', '.join(f'[{known}]' for known in SECTIONS)}"
                + did_you_mean(name, SECTIONS)
            )
        if not isinstance(table, dict):
            raise ConfigError(f"{file}: {name} = {table!r}: should be a section: a line [{name}], its keys below it")
    renamed.refuse_in_file(file, document)
    return document


def _over(lower: Values, higher: Values) -> Values:
    """What a higher level gives holds; a secret and the file that holds it are one setting, given in two ways."""
    replaced = {_other_way(key) for key, (value, _) in higher.items() if value}
    return {key: value for key, value in lower.items() if key not in replaced} | higher


def _other_way(key: str) -> str:
    stem = key.removesuffix("_file")
    return stem if stem != key else f"{key}_file" if is_secret(key) else key


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")


def _convert(cls: type[S], section: str, values: Values) -> S:
    hints = get_type_hints(cls, include_extras=True)
    converted: dict[str, Any] = {}
    for key, (value, source) in values.items():
        converted[key] = convert(value, hints[key], strict=False)
        if isinstance(converted[key], Wrong):
            shown = "***" if is_secret(key) else repr(value)
            raise ConfigError(f"{section}.{key} = {shown} (set by {source}): {converted[key].words}")
    try:
        return cls(**converted)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"[{section}]: {error}") from None


def masked(config: msgspec.Struct) -> dict[str, Any]:
    """The effective configuration as it may be logged."""
    return {
        key: ("***" if value else value) if is_secret(key) else value
        for key, value in msgspec.to_builtins(config).items()
    }


def configured(*sections: tuple[str, type[msgspec.Struct]], unused: Iterable[str] = ()) -> Callable[[F], F]:
    """Give a click command one option per configuration key, and pass it each section's struct by section name.

    The function keeps them as its `sections`. Keys that are `unused` by it are taken, but not in its help.
    """
    unlisted = set(unused)
    if strangers := {section for section, _ in sections} - set(SECTIONS):
        raise ValueError(f"not in SECTIONS: {', '.join(strangers)}")

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def run(config: Path | None, **given: Any) -> Any:
            refuse_strangers(os.environ)
            options = {name: given.pop(name) for _, cls in sections for name in option_names(cls).values()}
            for section, cls in sections:
                given[section] = load(cls, section, file=config, environ=os.environ, options=options)
            return function(**given)

        wrapped: Any = run
        for section, cls in reversed(sections):
            names = option_names(cls)
            for field in reversed(msgspec.structs.fields(cls)):
                if field.name in names:
                    wrapped = _option(names[field.name], section, cls, field, field.name in unlisted)(wrapped)
        path = click.Path(path_type=Path)  # read later: a missing file is then a ConfigError like any other
        help_text = "TOML file with a section per component."
        decorated: Any = click.option("--config", type=path, envvar="ANDON_CONFIG", help=help_text)(wrapped)
        decorated.sections = dict(sections)
        return cast(F, decorated)

    return decorate


def option_names(cls: type[msgspec.Struct]) -> dict[str, str]:
    """By key: its option without the dashes. It is the key, unless the key's Meta has another as `extra["option"]`;
    secrets have none."""
    hints = get_type_hints(cls, include_extras=True)
    keys = [field.name for field in msgspec.structs.fields(cls) if not is_secret(field.name)]
    return {key: next(_said(hints[key], lambda meta: (meta.extra or {}).get("option")), key) for key in keys}


def _said(hint: Any, of: Callable[[msgspec.Meta], str | None]) -> Iterator[str]:
    return (said for meta in getattr(hint, "__metadata__", ()) if (said := of(meta)))


def _option(
    option: str, section: str, cls: type[msgspec.Struct], field: msgspec.structs.FieldInfo, is_unlisted: bool
) -> Callable[[Any], Any]:
    hint = get_type_hints(cls, include_extras=True)[field.name]
    doc = next(_said(hint, lambda meta: meta.description), field.name.replace("_", " "))
    shown = "" if field.default in (msgspec.NODEFAULT, "") else f" [default: {_plain_text(field.default)}]"
    help_text = f"{doc} ({section}.{field.name}){shown}"
    return click.option(
        _flag(option), option, default=None, metavar=_metavar(hint, field.name), help=help_text, hidden=is_unlisted
    )


def _plain_text(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _metavar(hint: Any, key: str) -> str:
    """What a value looks like: the conversion is `load`'s, which names key and source."""
    plain = getattr(hint, "__origin__", hint) if hasattr(hint, "__metadata__") else hint
    if get_origin(plain) in (Union, types.UnionType):
        plain = next(each for each in get_args(plain) if each is not types.NoneType)
    if get_origin(plain) is Literal:
        return f"[{'|'.join(map(str, get_args(plain)))}]"
    if key.endswith("_file"):
        return "FILE"
    if key.endswith("_dir"):
        return "DIRECTORY"
    return {int: "INTEGER", float: "NUMBER", bool: "[true|false]"}.get(plain, "TEXT")
