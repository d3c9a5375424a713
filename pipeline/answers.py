"""Commands whose exit code is an answer: what failed must not look like one.

Python ends with 1 for an exception, click with 2 for what it does not understand, and 0 when it has printed its help;
for such a command all three would say something about an update.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import click

from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.say import say, say_traceback

FAILED, NOT_UNDERSTOOD = 3, 4
# What ends a process, as far as it may be caught. Those that were ignored when it began stay so (`nohup`).
_SIGNALS = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU,
)  # fmt: skip


class Answer(int):
    """An exit code that the command means. Any other one, even 0, is none: pass this to `Context.exit`."""


def answered(run: Callable[[], object], name: str) -> int:
    """The exit code of a command: its Answer, or NOT_UNDERSTOOD, or FAILED for whatever else happens.

    It runs in a thread, so that a signal ends the process at once, with FAILED, even while it waits inside of a
    library. To be called in the main thread, by a process that ends then without waiting for others (`os._exit`).
    """
    codes: list[int] = []
    worker = threading.Thread(target=lambda: codes.append(_code(run, name)), name=name, daemon=True)
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    worker.start()
    worker.join()
    return codes[0] if codes else FAILED


def _end(number: int, _frame: FrameType | None) -> None:
    with suppress(Exception):
        _complain(f"andon: ended by {signal.Signals(number).name}: there is no answer")
    os._exit(FAILED)


def _code(run: Callable[[], object], name: str) -> int:
    try:
        code = run()
        sys.stdout.flush()
        return code if isinstance(code, Answer) else NOT_UNDERSTOOD
    except click.UsageError as error:
        error.show()
        return NOT_UNDERSTOOD
    except ConfigError as error:
        _complain(f"andon: {error}")
        return NOT_UNDERSTOOD
    except AndonError as error:
        _complain(f"andon: {error}")
    except BaseException as error:
        say_traceback(type(error), error, error.__traceback__)
        _complain(f"andon {name}: {type(error).__name__}: there is no answer")
    return FAILED


def _complain(text: str) -> None:
    say(text, err=True)
