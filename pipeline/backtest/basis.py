"""What a "no halt" rests on: whether there was anything to judge in each fleet, and what kept the rest out. Pure."""

from collections import Counter

import numpy as np

from pipeline.wire.noted import Noted
from pipeline.wire.partials import EXPOSURE_COLUMNS, TRIAL_COLUMNS, Partial


class Basis:
    """Counts of one fleet: clean reports (trials), crashes, and updates listed by either, as they could be used.

    >>> Basis().missing()
    'there is no heartbeat and no boot beside 0 crashes: nothing to hold them against'
    """

    def __init__(self) -> None:
        self.trials = self.crashes = self.exposed = self.excluded = 0
        self.notes: Counter[str] = Counter()

    def take_in(self, partial: Partial) -> None:
        """Another partial."""
        self.trials += int(_rows(partial.trials, TRIAL_COLUMNS)[:, 2].sum())
        exposures = _rows(partial.exposures, EXPOSURE_COLUMNS)
        self.crashes += len(partial.crashes)
        self.exposed += int(exposures[:, 3].sum()) + sum(len(crash.exposed) for crash in partial.crashes)
        self.excluded += int(exposures[:, 4].sum()) + sum(len(crash.excluded) for crash in partial.crashes)
        self.notes.update(partial.notes.counts)

    def missing(self) -> str:
        """Why nothing of the fleet could be judged; "" where something could."""
        if not self.trials:
            return f"there is no heartbeat and no boot beside {self.crashes:,} crashes: nothing to hold them against"
        return (
            "" if self.exposed else f"no report is of a host with an update installed lately: {self._why_unexposed()}"
        )

    def partly(self) -> str:
        """Why most of what updates were listed could not be judged; "" where it could, or nothing could."""
        not_yet, undated = self._not_yet, self._undated
        if not self.exposed or max(not_yet, undated) <= self.exposed:
            return ""
        return f"of {self.exposed + not_yet + undated:,} updates listed only {self.exposed:,}: {self._why_unexposed()}"

    @property
    def _not_yet(self) -> int:
        return self.notes[Noted.EXPOSURES_NOT_YET.value]

    @property
    def _undated(self) -> int:
        return self.notes[Noted.INSTALLED_AT_UNUSABLE.value]

    def _why_unexposed(self) -> str:
        if self._not_yet >= max(1, self._undated):
            return f"{self._not_yet:,} times the installation is later than the report: are clocks or time zones wrong?"
        if self._undated:
            return f"{self._undated:,} times installed_at is missing or no time"
        if self.excluded:
            return f"{self.excluded:,} updates listed were installed too long before, or replaced since"
        return "no updates are listed"


def _rows(raw: bytes, columns: int) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    return np.frombuffer(raw, "<i4").reshape(-1, columns)
