"""Tells one Alertmanager, in a thread of its own: another one that hangs holds up nobody."""

import logging
import threading
import time
from collections.abc import Sequence

from consumers.notify.alertmanager import AT_ONCE, Alertmanager, Refused
from consumers.notify.alerts import Alert
from consumers.notify.config import Access
from consumers.notify.outbox import Outbox, Pace
from pipeline.runtime.clock import Clock, wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.metrics import NOTIFICATIONS
from pipeline.runtime.seldom import Seldom

LOOK_SECONDS = 1.0  # between two looks at what time alone makes due
AGAIN_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)  # after it could not be told
STOP_SECONDS = 10.0
log = logging.getLogger("andon.notify")


class Sender:
    """`put` says what all alerts are; whatever of it is due is sent until it has been taken."""

    def __init__(self, access: Access, pace: Pace, hold_seconds: float, clock: Clock = wall_clock_ms) -> None:
        self._url, self._hold_seconds, self._clock = access.url, hold_seconds, clock
        self._alertmanager, self._outbox = Alertmanager(access), Outbox(pace)
        self._alerts: Sequence[Alert] | None = None  # None: nobody knows yet
        self._news = threading.Condition()
        self._stopping = False
        self._failures = 0
        self._seldom = Seldom()
        self.trouble = "nothing has been sent yet"
        self._thread = threading.Thread(target=self._run, name="andon-notify-sender", daemon=True)

    def start(self) -> "Sender":
        """Begin."""
        self._thread.start()
        return self

    def put(self, alerts: Sequence[Alert]) -> None:
        """These are all that there are by now."""
        with self._news:
            self._alerts = alerts
            self._news.notify()

    def close(self) -> None:
        """Stop, once what is under way has ended."""
        with self._news:
            self._stopping = True
            self._news.notify()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        before: Sequence[Alert] | None = None
        while True:
            with self._news:
                self._news.wait_for(lambda seen=before: self._stopping or self._alerts is not seen, self._pause())  # type: ignore[misc]
                if self._stopping:
                    return
                before = self._alerts
            try:
                if before is not None:
                    self._send(before)
            except Exception as error:  # a thread that ends unseen would be deaf for good
                self._lost(f"{type(error).__name__}: {error}")
                log.exception("telling %s failed; it is tried again", self._url)

    def _pause(self) -> float:
        if not self._failures:
            return LOOK_SECONDS
        return AGAIN_SECONDS[min(self._failures, len(AGAIN_SECONDS)) - 1]

    def _send(self, alerts: Sequence[Alert]) -> None:
        due = self._outbox.due(alerts, time.monotonic())
        for start in range(0, len(due), AT_ONCE):
            if not self._tell(due[start : start + AT_ONCE]):
                return
        self._failures, self.trouble = 0, ""

    def _tell(self, alerts: Sequence[Alert]) -> bool:
        """Whether it was there. What it refuses counts as sent: each by itself, so that it holds up no other."""
        try:
            self._alertmanager.post(alerts, self._clock(), self._hold_seconds)
        except Refused as error:
            if len(alerts) > 1:
                return sum(self._tell([alert]) for alert in alerts) == len(alerts)
            NOTIFICATIONS.labels("refused").inc()
            log.error("an alert is refused: %s %s", alerts[0].annotations.get("summary", ""), error)
        except AndonError as error:
            self._lost(str(error))
            return False
        else:
            for alert in alerts:
                NOTIFICATIONS.labels("firing" if alert.fires else "resolved").inc()
        self._outbox.sent(alerts, time.monotonic())
        return True

    def _lost(self, why: str) -> None:
        self._failures += 1
        self.trouble = why
        NOTIFICATIONS.labels("failed").inc()
        if self._seldom.turn(why[:60]) is not None:
            log.warning("an alert could not be sent, and is sent again: %s", why)
