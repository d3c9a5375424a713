"""Andon itself, as it ships: the detector that the backtest runs, under the default policy."""

from collections.abc import Sequence

from pipeline.bakeoff.protocol import Call, Past, Step
from pipeline.bakeoff.stream import FLEET
from pipeline.decide.detector import Detector
from pipeline.decide.orders import Decisions
from pipeline.decide.policy import PolicySet
from pipeline.wire.partials import UpdateId


class Andon:
    """Needs no past but what the stream holds."""

    def __init__(self, past: Past, policies: PolicySet | None = None) -> None:
        self._numbers = {update: number for number, update in enumerate(past.updates)}
        self._detector = Detector(FLEET, policies or PolicySet())
        self._cleared: set[int] = set()

    def see(self, step: Step) -> Sequence[Call]:
        """An update is cleared when it is in one ring at least: each is earned by itself."""
        return self._calls(self._detector.step(step.partial))

    def _calls(self, decisions: Decisions) -> list[Call]:
        calls = []
        for halt in decisions.halts:
            update = self._numbers[UpdateId(halt.vendor, halt.product, halt.version)]
            calls.append(Call(update, together="inseparable" in halt.evidence.flags))
        for verdict in decisions.verdicts:
            update = self._numbers[UpdateId(verdict.vendor, verdict.product, verdict.version)]
            if verdict.state == "cleared" and update not in self._cleared:
                self._cleared.add(update)
                calls.append(Call(update, "clear"))
        return calls
