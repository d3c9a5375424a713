"""A detector for each fleet, and what came of all that they were shown. Pure."""

from collections.abc import Iterable

from pipeline.backtest.basis import Basis
from pipeline.backtest.noted import InputNotes
from pipeline.decide.detector import Detector
from pipeline.decide.orders import HaltOrder, Ruling
from pipeline.decide.policy import PolicySet
from pipeline.wire.partials import Partial, UpdateId
from pipeline.wire.verdicts import MANY_CLOCKS

UpdateKey = tuple[str, str, str, str]  # fleet, vendor, product, version


class Judging:
    """Counts events, what people ruled, and halts; knows the largest evidence of each update; `notes` are on the
    input."""

    def __init__(self, policies: PolicySet, notes: InputNotes | None = None) -> None:
        self.events = self.halts = self.rulings = 0
        self.notes = notes or InputNotes()
        self.max_log10_evidence: dict[UpdateKey, float] = {}
        self.bases: dict[str, Basis] = {}
        self._policies = policies
        self._detectors: dict[str, Detector] = {}

    def step(self, partial: Partial) -> tuple[HaltOrder, ...]:
        """The halts that follow from a partial."""
        self.bases.setdefault(partial.fleet, Basis()).take_in(partial)
        found = self._detector(partial.fleet).step_briefly(partial)
        self.halts += len(found.halts)
        for alarm in found.alarms:
            self.notes.alarms[alarm.fleet, alarm.since] = alarm
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

    def not_judged(self) -> dict[str, str]:
        """Why nothing, or not most, of a fleet could be judged, by fleet."""
        why = {
            fleet: basis.missing() or basis.partly() or self._wrong_clocks(fleet)
            for fleet, basis in sorted(self.bases.items())
        }
        return {fleet: reason for fleet, reason in why.items() if reason}

    def _wrong_clocks(self, fleet: str) -> str:
        hosts = self.notes.fleets.get(fleet, {}).get("clocks_ahead", {}).get("hosts", 0)
        if hosts < MANY_CLOCKS:
            return ""
        return f"clocks or time zones of {hosts:,} hosts are wrong: what they installed last could not be judged"

    @property
    def judged_nothing(self) -> bool:
        """Whether there is no fleet of which anything could be judged, and nobody ruled anything."""
        return not (self.halts or self.rulings) and all(basis.missing() for basis in self.bases.values())

    def _detector(self, fleet: str) -> Detector:
        if fleet not in self._detectors:
            self._detectors[fleet] = Detector(fleet, self._policies)
        return self._detectors[fleet]

    def _note(self, fleet: str, found: Iterable[tuple[UpdateId, float]]) -> None:
        for update, evidence in found:
            key = (fleet, *update)
            self.max_log10_evidence[key] = max(evidence, self.max_log10_evidence.get(key, evidence))
