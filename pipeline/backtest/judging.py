"""A detector for each fleet, and what came of all that they were shown. Pure."""

from collections.abc import Iterable

from pipeline.backtest.noted import InputNotes
from pipeline.decide.detector import Detector
from pipeline.decide.orders import HaltOrder, Ruling
from pipeline.decide.policy import PolicySet
from pipeline.wire.partials import Partial, UpdateId

UpdateKey = tuple[str, str, str, str]  # fleet, vendor, product, version


class Judging:
    """Counts events, what people ruled, and halts; knows the largest evidence of each update; `notes` are on the
    input."""

    def __init__(self, policies: PolicySet, notes: InputNotes | None = None) -> None:
        self.events = self.halts = self.rulings = 0
        self.notes = notes or InputNotes()
        self.max_log10_evidence: dict[UpdateKey, float] = {}
        self._policies = policies
        self._detectors: dict[str, Detector] = {}

    def step(self, partial: Partial) -> tuple[HaltOrder, ...]:
        """The halts that follow from a partial."""
        found = self._detector(partial.fleet).step_briefly(partial)
        self.halts += len(found.halts)
        self._note(partial.fleet, found.evidence.items())
        self._note(
            partial.fleet, ((UpdateId(h.vendor, h.product, h.version), h.evidence.log10_evidence) for h in found.halts)
        )
        return found.halts

    def rule(self, fleet: str, ruling: Ruling) -> None:
        """What people decided, from the next partial on."""
        self.rulings += 1
        verdicts = self._detector(fleet).rule(ruling).verdicts
        self._note(fleet, ((UpdateId(v.vendor, v.product, v.version), v.log10_evidence) for v in verdicts))

    def finish(self) -> None:
        """All has been seen."""
        self.notes.fleets = {fleet: detector.summary() for fleet, detector in self._detectors.items()}

    def _detector(self, fleet: str) -> Detector:
        if fleet not in self._detectors:
            self._detectors[fleet] = Detector(fleet, self._policies)
        return self._detectors[fleet]

    def _note(self, fleet: str, found: Iterable[tuple[UpdateId, float]]) -> None:
        for update, evidence in found:
            key = (fleet, *update)
            self.max_log10_evidence[key] = max(evidence, self.max_log10_evidence.get(key, evidence))
