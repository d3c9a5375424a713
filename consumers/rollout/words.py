"""What a decision says to people: the places of the rules' sentences, filled from the records. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.halt.safety import DEAF, DOUBTS
from pipeline.wire.halts import Halt
from pipeline.wire.verdicts import FleetAlarm, FleetHeartbeat, Verdict, power_of_ten
from pipeline.wire.words import alarm_words, doubted_words

NOT_BELIEVED: Mapping[str, str] = {
    "malformed": "its newest record is none",
    "wrong_key": "its newest record is another's",
    "unknown_key": "its newest record is signed by a key that is not trusted, or not at all",
    "bad_signature": "the signature of its newest record does not match",
}


class Words(NamedTuple):
    """What there is to tell; all of it may be missing."""

    now_ms: int
    unread: str
    halt: Halt | None
    verdict: Verdict | None
    beat: FleetHeartbeat | None
    doubt: str  # a reason of DOUBTS
    refused: str  # why the verdict's newest record is not believed
    alarm: FleetAlarm | None = None

    def places(self) -> dict[str, str]:
        """By name, for `Rule.reason`."""
        halt, verdict = self.halt, self.verdict
        found = {
            "unread": self.unread,
            "doubt": DOUBTS.get(self.doubt, self.doubt),
            "refused": NOT_BELIEVED.get(self.refused, self.refused),
            "silent": self._silent(),
            "alarm": alarm_words(self.alarm),
            "doubted": "",
            "flags": ", ".join(sorted(DEAF & set(self.beat.flags))) if self.beat else "",
        }
        if halt is not None:
            left_seconds = (halt.expires_at - self.now_ms) / 1000
            found |= {
                "epoch": str(halt.epoch),
                "rings": "every ring" if "*" in halt.rings else ", ".join(halt.rings),
                "decided_by": halt.decided_by.replace("operator:", ""),
                "because": halt.reason,
                "left": span(left_seconds),
                "expired": span(-left_seconds),
            }
        if verdict is not None:
            found |= {
                "verdict": verdict.state,
                "ahead": span((verdict.at - self.now_ms) / 1000),
                "found": _found(verdict),
                "doubted": _doubted(verdict),
            }
        evidence = verdict.log10_evidence if verdict is not None else None
        return found | {"evidence": "unknown" if evidence is None else power_of_ten(evidence)}

    def _silent(self) -> str:
        if self.beat is None:
            return "no heartbeat of this fleet's detector is to be believed: nobody says that it lives"
        seconds = (self.now_ms - self.beat.at) / 1000
        if seconds < 0:
            return f"the newest heartbeat is {span(-seconds)} ahead of this clock: one of the two clocks is wrong"
        return f"the newest heartbeat is {span(seconds)} old: the detector is silent, or this clock is wrong"


def _found(verdict: Verdict) -> str:
    flags = f" [{', '.join(verdict.flags)}]" if verdict.flags else ""
    return (
        f"{verdict.crashed_hosts:,} crashed hosts, {verdict.exposed_trials:,} exposed trials, "
        f"evidence {power_of_ten(verdict.log10_evidence)} of 10^{verdict.threshold:g}{flags}"
    )


def _doubted(verdict: Verdict) -> str:
    words = doubted_words(verdict.doubted_for)
    return f"; {words}; the halt stands until people lift it" if words else ""


def unheard(seconds: float) -> str:
    """Of a detector that lives, and to which nothing comes."""
    return f"no report of the last {span(seconds)} has come to the detector: they ended, or wait unread"


def span(seconds: float) -> str:
    """A duration, about: in its largest unit; never negative."""
    seconds = max(0.0, seconds)
    for unit, of_seconds in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * of_seconds:
            return f"{seconds / of_seconds:,.0f} {unit}"
    return f"{seconds:.0f} s"
