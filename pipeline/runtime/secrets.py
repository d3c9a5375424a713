"""Secrets in a configuration: which keys are some, and what they say."""

from pathlib import Path

import msgspec

from pipeline.runtime.errors import ConfigError

_WORDS = ("password", "token", "secret")


def is_secret(key: str) -> bool:
    """Secrets come from files or the environment and are never shown; a path to a secret is not one."""
    return any(word in key for word in _WORDS) and not key.endswith("_file")


def read_secret(config: msgspec.Struct, section: str, key: str = "password") -> str:
    """A secret of a section: given as itself, or in the file that `…_file` names.

    Raises:
        ConfigError: when the file cannot be read.
    """
    value: str = getattr(config, key)
    name: str = getattr(config, f"{key}_file")
    if value or not name:
        return value
    try:
        return Path(name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{section}.{key}_file = {name!r}: cannot be read: {error}") from None
