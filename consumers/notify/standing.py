"""What stands halted now, followed on three topics, as the alerts that say so."""

from collections.abc import Mapping, Sequence

from consumers.notify.acks import Acks
from consumers.notify.alerts import Alert, alerts_of
from consumers.notify.gauges import gauges
from consumers.rollout import Source
from consumers.rollout.follower import Follower
from pipeline.halt.safety import SafetyRecord
from pipeline.halts.facts import Row, rows
from pipeline.runtime.metrics import put
from pipeline.wire.acks import HaltAck

CLIENT = "andon-notify"
LOOK_SECONDS = 0.25  # a person hears of a halt so much later at most, and an idle line costs little


class Standing:
    """From `start` to `close`; for one thread but for `trouble`."""

    def __init__(self, source: Source, links: Mapping[str, str]) -> None:
        self._source, self._links = source, links
        self.follower = Follower(source, CLIENT, look_seconds=LOOK_SECONDS)
        self._acks = Acks(source.kafka, source.trusted)
        self.issued: dict[tuple[str, int], int] = {}
        self._seen: dict[tuple[str, str], int] = {}  # by halt key and state: since when, unix ms

    @property
    def record(self) -> SafetyRecord:
        """As the follower has it."""
        return self.follower.knowledge.record

    @property
    def acks(self) -> Sequence[HaltAck]:
        """Believed ones."""
        return self._acks.all

    @property
    def subscribers(self) -> Sequence[str]:
        """Whose keys are there."""
        return sorted({key.name for key in self._source.trusted.values() if key.role == "subscriber"})

    def start(self) -> None:
        """Begin to read.

        Raises:
            ConfigError: for settings that no client can be made with.
        """
        self.follower.start()

    def look(self) -> bool:
        """Take in what subscribers say; whether that changed anything."""
        return self._acks.look()

    def wait(self, seconds: float) -> None:
        """For news of halts, at most so long."""
        follower = self.follower
        with follower.news:
            wakes = follower.wakes
            follower.news.wait_for(lambda: follower.wakes != wakes, seconds)

    def rows(self, now_ms: int) -> list[Row] | None:
        """Everything that was halted, waits or is in doubt; None as long as nothing is known. Moves the gauges, too."""
        if not self.follower.ready.is_set():
            return None
        with self.follower.news:
            for halt in self.record.halts.values():
                self.issued.setdefault((halt.key, halt.epoch), halt.issued_at)
            found = rows(self, now_ms)
            since_ms = {row.key: self._since_of(row, now_ms) for row in found}
            for family, series in gauges(found, since_ms, self.record):
                put(family, series)
        return found

    def alerts(self, rows: list[Row], now_ms: int) -> list[Alert]:
        """All that fire, and those that were and do not."""
        return [alert for row in rows for alert in alerts_of(row, self._since_of(row, now_ms), self._links)]

    def _since_of(self, row: Row, now_ms: int) -> int:
        """Since when it is as it is: by its record where that says so, else since it was first seen."""
        halt = row.halt
        if halt is None or row.state == "pending":
            return self._seen.setdefault((row.key, row.state), now_ms)
        is_over = halt.action == "resume" and row.state == "standing"
        return halt.expires_at if is_over else self.issued[row.key, halt.epoch]

    def troubles(self) -> list[str]:
        """Why not all is known now."""
        return [each for each in (self.follower.trouble, self._acks.trouble) if each]

    def close(self) -> None:
        """Stop."""
        self.follower.close()
        self._acks.close()
