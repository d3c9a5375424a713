"""The figure of merit of the whole line: from the crash that decided to the last new installation. Pure."""

from collections.abc import Iterable

from pipeline.wire.halts import Halt
from pipeline.wire.verdicts import Verdict


def last_install_of(verdicts: Iterable[Verdict]) -> int:
    """The newest installation that the newest of these verdicts on one update knows of, unix ms; 0 when unknown."""
    newest = max(verdicts, key=lambda verdict: verdict.at, default=None)
    return 0 if newest is None else newest.last_install


def seconds_to_last_install(halt: Halt, last_install_ms: int) -> float | None:
    """From the crash that decided to this moment, both by the events; negative when nobody installed it after that
    crash; None when either is unknown."""
    if halt.evidence is None or not last_install_ms:
        return None
    return (last_install_ms - halt.evidence.stream_time) / 1000
