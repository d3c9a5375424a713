"""Logs: one line an event, JSON or for people. Text from endpoints is escaped, so that it cannot drive a terminal."""

import sys
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import structlog

LogFormat = Literal["json", "text"]


def printable(text: str) -> str:
    """`text` with control characters escaped: fit for a log line or a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _escape(_: Any, __: str, event: Any) -> Any:
    return {key: printable(value) if isinstance(value, str) else value for key, value in event.items()}


def configure(stage: str, log_format: LogFormat = "text") -> "structlog.typing.FilteringBoundLogger":
    """Set up logging to standard error and return the stage's logger."""
    # Here: every command imports this module for `printable`, and these take half of the time that its help may take.
    import structlog

    from pipeline.runtime.library_log import forward_libraries

    renderer: Any = structlog.processors.JSONRenderer()
    if log_format == "text":
        renderer = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _escape,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(stage=stage)
    forward_libraries(logger)
    return logger
