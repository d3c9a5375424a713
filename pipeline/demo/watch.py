"""What the demo knows of the detector: what any subscriber can read. Nothing here looks into a stage."""

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.halt.believe import believed_word
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.signing import TrustedKeys
from pipeline.runtime.errors import AndonError
from pipeline.simulate.obedience import Obedience
from pipeline.simulate.tail import ReceivedRecord, Tail
from pipeline.wire import topics
from pipeline.wire.halts import Halt
from pipeline.wire.partials import UpdateId
from pipeline.wire.verdicts import FleetHeartbeat, Verdict

STATE_SECONDS = 5.0


class Seen(NamedTuple):
    """A halt whose signature held, and when it could be read here (unix ms)."""

    halt: Halt
    received_ms: int

    @property
    def update(self) -> UpdateId:
        """What it stops."""
        return UpdateId(self.halt.vendor, self.halt.product, self.halt.version)


class Watch:
    """Follows `fleet.halts` and `fleet.verdicts` of every fleet."""

    def __init__(self, tail: Tail, trusted: TrustedKeys) -> None:
        self._tail = tail
        self._trusted = trusted
        self._obedience = Obedience(trusted)
        self._refused: Counter[str] = Counter()
        self.halts: list[Seen] = []
        self.highest: dict[tuple[str, UpdateId], Verdict] = {}  # by fleet and update: the most that was ever found

    @property
    def refused(self) -> list[str]:
        """What records were not believed, how many, and why."""
        found = ((topics.HALTS.name, self._obedience.refused), (topics.VERDICTS.name, self._refused))
        return [
            f"records of {topic} that are not to be believed: {count} ({why})"
            for topic, reasons in found
            for why, count in sorted(reasons.items())
        ]

    def read(self, fleet: str) -> Iterator[Halt]:
        """The fleet's halts that have come since last time."""
        for record in self._tail.take():
            if record.topic == topics.HALTS.name:
                halt = self._obedience.read(record.key, record.value)
                if halt is not None:
                    self.halts.append(Seen(halt, record.received_ms))
                    if halt.fleet == fleet:
                        yield halt
            elif record.value:  # else one of a fleet that was forgotten
                self._note(record)

    def _note(self, record: ReceivedRecord) -> None:
        try:
            verdict = believed_word(record.key, record.value, self._trusted)
        except UntrustedRecord as error:
            self._refused[error.reason] += 1
            return
        if isinstance(verdict, FleetHeartbeat):
            return
        key = verdict.fleet, UpdateId(verdict.vendor, verdict.product, verdict.version)
        known = self.highest.get(key)
        if known is None or verdict.log10_evidence > known.log10_evidence:
            self.highest[key] = verdict

    def halted(self, fleet: str) -> dict[UpdateId, Seen]:
        """The first halt of each of the fleet's updates."""
        first: dict[UpdateId, Seen] = {}
        for seen in self.halts:
            if seen.halt.fleet == fleet and seen.halt.action == "halt":
                first.setdefault(seen.update, seen)
        return first

    def evidence(self, fleet: str, update: UpdateId) -> float | None:
        """The highest log10 evidence ever published of an update; None when nothing was."""
        verdict = self.highest.get((fleet, update))
        return None if verdict is None else verdict.log10_evidence


def events_read(correlate_url: str, fleet: str) -> int:
    """How many of the fleet's events the detector has taken in, by its own page.

    Raises:
        AndonError: when the page does not answer.
    """
    try:
        with urllib.request.urlopen(f"{correlate_url}/state", timeout=STATE_SECONDS) as answer:
            state = json.load(answer)
    except (OSError, ValueError) as error:
        raise AndonError(f"{correlate_url}/state does not answer: {error}") from None
    return sum(int(entry["events"]) for entry in state["fleets"] if entry["fleet"] == fleet)
