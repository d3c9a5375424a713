"""What one Alertmanager has been told of halts, and what it is to be told now. Pure; times in seconds of one clock that
never goes back."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from consumers.notify.alerts import Alert

Identity = tuple[tuple[str, str], ...]


class Pace(NamedTuple):
    """How often the same is said again: while it fires, and for how long once it is resolved. Alertmanager keeps no
    word for ever, and may have been started anew meanwhile."""

    resend_seconds: float = 60.0
    resolved_seconds: float = 300.0


class _Told(NamedTuple):
    """What was said last of an alert, when, and since when it is that."""

    alert: Alert
    at: float
    since: float


class Outbox:
    """Of one Alertmanager. What is `due` and could not be sent stays due; the same word is never sent twice within
    `resend_seconds`, and a change at once."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._told: dict[Identity, _Told] = {}

    def due(self, alerts: Iterable[Alert], now: float) -> list[Alert]:
        """Of these, which are all that there are: those to be sent now. One that fired and is not there any more is
        resolved."""
        known = {alert.identity: alert for alert in alerts}
        gone = {identity: told for identity, told in self._told.items() if identity not in known}
        for identity in [identity for identity, told in gone.items() if self._is_over(told, now)]:
            del self._told[identity], gone[identity]
        resolved = (msgspec.structs.replace(told.alert, fires=False) for told in gone.values())
        return [alert for alert in (*known.values(), *resolved) if self._is_due(alert, now)]

    def _is_due(self, alert: Alert, now: float) -> bool:
        told = self._told.get(alert.identity)
        if told is None or told.alert.fires != alert.fires:
            return True
        return now - told.at >= self._pace.resend_seconds and not self._is_over(told, now)

    def _is_over(self, told: _Told, now: float) -> bool:
        """Whether it was resolved, and that was said for long enough."""
        return not told.alert.fires and now - told.since >= self._pace.resolved_seconds

    def sent(self, alerts: Iterable[Alert], now: float) -> None:
        """It has these."""
        for alert in alerts:
            told = self._told.get(alert.identity)
            is_same = told is not None and told.alert.fires == alert.fires
            self._told[alert.identity] = _Told(alert, now, told.since if told is not None and is_same else now)
