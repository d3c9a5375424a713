"""The alarm as a record."""

from typing import NamedTuple

import numpy as np

from pipeline.decide.alarm.watch import Alarm
from pipeline.wire.spans import DAY_MS, MINUTE_MS
from pipeline.wire.verdicts import AlarmRing, AlarmSignature, FleetAlarm, Suspect

DAY_MINUTES = DAY_MS // MINUTE_MS
NO_HISTORY = "no_history"
_LN10 = float(np.log(10.0))


class Clues(NamedTuple):
    """What the crashed hosts have in common, the most of them first."""

    signatures: tuple[AlarmSignature, ...]
    rings: tuple[AlarmRing, ...]
    suspects: tuple[Suspect, ...]


def threshold_of(alpha: float) -> float:
    """ln of the evidence that a false alarm reaches within a day with a chance of `alpha` at most.

    >>> round(threshold_of(0.001) / float(np.log(10.0)), 2)
    6.16
    """
    return float(np.log(DAY_MINUTES / alpha))


def record_of(fleet: str, at_ms: int, alarm: Alarm, threshold: float, clues: Clues) -> FleetAlarm:
    """Of one that sounds, or has just ended; `threshold` in ln."""
    said = alarm.standing()
    return FleetAlarm(
        fleet=fleet,
        state="sounding" if alarm.sounds else "over",
        at=at_ms,
        since=said.since * MINUTE_MS,
        over_at=said.over * MINUTE_MS,
        ended=said.ended,
        crashed_hosts=round(said.crashed),
        usual=float(f"{said.usual:.3g}"),
        tolerated_rise=said.rise_tolerated,
        log10_evidence=round(said.log_evidence / _LN10, 3),
        threshold=round(threshold / _LN10, 3),
        signatures=clues.signatures,
        rings=clues.rings,
        suspects=clues.suspects,
        flags=() if said.has_history else (NO_HISTORY,),
    )
