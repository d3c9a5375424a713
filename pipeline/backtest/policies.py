"""The policy that a command without a line of its own is to judge by."""

from pathlib import Path

from pipeline.decide.policy import PolicyError, PolicySet, load_policies
from pipeline.runtime.errors import ConfigError


def read_policies(path: Path | None) -> PolicySet:
    """Raises ConfigError when the file cannot be read or says what no policy may."""
    if path is None:
        return PolicySet()
    try:
        return load_policies(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"--policy {path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, PolicyError) as error:
        raise ConfigError(f"--policy {path}: {error}") from None
