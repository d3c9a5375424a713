"""Follows what stands halted, and has every Alertmanager told of it."""

from consumers.notify.config import NotifyConfig
from consumers.notify.sender import Sender
from consumers.notify.standing import Standing
from consumers.rollout import Source
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.lifecycle import StopSignal
from pipeline.runtime.metrics import NOTIFY_FIRING
from pipeline.runtime.waiting import Deadline
from pipeline.runtime.web.serving import Health, Turns

ANEW_SECONDS = 5.0  # between two looks at what time alone changes
BETWEEN_SECONDS = 0.5  # between two looks at what subscribers say


class Notifier:
    """One process's.

    Raises:
        ConfigError: when there is nobody to be told, or nothing that could be followed.
    """

    def __init__(self, source: Source, config: NotifyConfig) -> None:
        accesses = config.accesses()
        self.urls = [access.url for access in accesses]
        self._standing = Standing(source, config.links())
        self._senders = [Sender(access, config.pace(), config.hold_seconds) for access in accesses]
        self._turns = Turns()

    def run(self, stop: StopSignal) -> None:
        """Until it is told to stop."""
        self._standing.start()
        for sender in self._senders:
            sender.start()
        anew, seen = Deadline(0), -1
        while not stop.is_set():
            self._turns.turned()
            changes, has_heard = self._standing.follower.changes, self._standing.look()
            if changes != seen or has_heard or anew.has_passed:
                anew, seen = Deadline(ANEW_SECONDS), changes
                self._put()
            self._standing.wait(BETWEEN_SECONDS)
        for sender in self._senders:
            sender.close()
        self._standing.close()

    def _put(self) -> None:
        now_ms = wall_clock_ms()
        rows = self._standing.rows(now_ms)
        if rows is not None:
            alerts = self._standing.alerts(rows, now_ms)
            NOTIFY_FIRING.set(sum(alert.fires for alert in alerts))
            for sender in self._senders:
                sender.put(alerts)

    def health(self) -> Health:
        """Of the process."""
        return Health(self._why_not, self._turns.still_seconds)

    def _why_not(self) -> list[str]:
        return [*self._standing.troubles(), *(sender.trouble for sender in self._senders if sender.trouble)]
