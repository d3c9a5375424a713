"""The watchdog ends what hangs, says what it was, and leaves alone what returns in time."""

import queue

import structlog
from structlog.testing import capture_logs
from support.waiting import DEADLINE_SECONDS

from pipeline.runtime.watchdog import Watchdog


def test_a_call_that_hangs_ends_the_process() -> None:
    """With the exit code that asks for a new start; the log names the call."""
    ended: queue.Queue[int] = queue.Queue()
    with capture_logs() as logs:
        watchdog = Watchdog(structlog.get_logger(), ended.put)
        with watchdog.within("commit", 0.05):
            assert ended.get(timeout=DEADLINE_SECONDS) == 70
    assert [entry["call"] for entry in logs] == ["commit"]


def test_what_returns_in_time_is_left_alone() -> None:
    """Many short calls, and none: only the one that is overdue counts, by its own limit."""
    ended: queue.Queue[int] = queue.Queue()
    watchdog = Watchdog(structlog.get_logger(), ended.put)
    with watchdog.within("long", 3600):
        for _ in range(2):  # as long as others take to look, and to end what hangs
            others: queue.Queue[int] = queue.Queue()
            with Watchdog(structlog.get_logger(), others.put).within("stuck", 0.0):
                assert others.get(timeout=DEADLINE_SECONDS) == 70
    for _ in range(1000):
        with watchdog.within("short", 5.0):
            pass
    assert ended.empty()
    with watchdog.within("stuck", 0.0):
        assert ended.get(timeout=DEADLINE_SECONDS) == 70
