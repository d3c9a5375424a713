"""Processes that do not outlive the one that started them, even when it is killed with -9 (Linux)."""

import ctypes
import os
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def leash(death_signal: int) -> Callable[[], None]:
    """For Popen's `preexec_fn`: the kernel sends the child `death_signal` when the thread that starts it ends.

    Elsewhere than on Linux it does nothing.
    """
    parent = os.getpid()

    def apply() -> None:
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, death_signal)
            if os.getppid() != parent:  # it died before the kernel was asked
                os._exit(1)

    return apply
