"""Errors that end a command: said in one line, with an exit code for machines."""

import errno
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


class AndonError(Exception):
    """An error that a person can act on; `exit_code` is the process's."""

    exit_code = 1


class ConfigError(AndonError):
    """Bad configuration: names the key, the value, where it was set and what would be right."""

    exit_code = 2


class FatalStageError(AndonError):
    """The stage cannot go on in this process; the supervisor starts it anew."""

    exit_code = 70


class TopicMadeAnewError(FatalStageError):
    """What is read is another topic of that name: a new process has to read it from its beginning."""

    def __init__(self, topics: Collection[str]) -> None:
        super().__init__(f"{', '.join(sorted(topics))}: not the topic that it was; a new process begins it anew")
        self.topics = topics


class OutputError(AndonError):
    """Standard output does not take what a command says. `is_unread`: whoever read it has left (`andon … | head -1`),
    which is nothing to complain of."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output takes nothing more: {error.strerror}; what was printed is not all")
        self.is_unread = error.errno == errno.EPIPE


@contextmanager
def writable(key: str, path: Path, wanted: str = "a writable directory") -> Iterator[None]:
    """What the system refuses inside is a ConfigError about the setting or option `key`, whose value is `path`."""
    try:
        yield
    except OSError as error:
        what = "" if error.filename in (None, str(path)) else f" ({error.filename})"
        raise ConfigError(f"{key} = {str(path)!r}: {error.strerror or error}{what}; it must be {wanted}") from None
