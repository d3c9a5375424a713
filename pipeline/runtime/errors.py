"""Errors that end a command: said in one line, with an exit code for machines."""

from collections.abc import Collection


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
