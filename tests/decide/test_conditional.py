"""What hosts that have only one of two updates say of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.conditional import CrashList, Retained, separate
from pipeline.decide.samples import BIN_MINUTES, BIN_MS, KEPT_BINS, Samples
from pipeline.wire.partials import SampleRecord

GUILTY, OTHER = 0, 1
NEWEST = 1_000  # bin
POSITIONS = {(): (), (GUILTY,): (GUILTY,)}


def samples(bins: int) -> Samples:
    """Of the newest bins: thirty hosts each, of which two thirds have the guilty update, and none the other."""
    kept = Samples()
    for number in range(NEWEST - bins + 1, NEWEST + 1):
        for host in range(30):
            exposed = (GUILTY,) if host % 3 else ()
            kept.add([SampleRecord(number * BIN_MINUTES, 0, host, exposed, ())], [0], POSITIONS)
    return kept


def crash(number: int, *exposed: int) -> Retained:
    """In the middle of a bin."""
    return Retained(number * BIN_MS + BIN_MS // 2, 0, -1, exposed, ())


def said(crashes: list[Retained], kept: Samples) -> tuple[float, int, float]:
    """Of the guilty update, on hosts without the other."""
    listed = CrashList()
    listed.crashes.extend(crashes)
    return separate(listed, kept, GUILTY, OTHER, -1, 1.5, 1)


NOW = [crash(NEWEST, GUILTY) for _ in range(12)]


@given(st.lists(st.integers(KEPT_BINS, 3 * KEPT_BINS), min_size=1, max_size=40))
def test_crashes_of_which_nobody_knows_who_had_what_say_nothing(ages: list[int]) -> None:
    """They came before the oldest sample, maybe before the update: at the share of now they would speak against it."""
    kept = samples(KEPT_BINS)
    assert said([*(crash(NEWEST - age) for age in ages), *NOW], kept) == said(NOW, kept)
    assert said([crash(NEWEST - age) for age in ages], kept) == (0.0, 0, 0.0)


def test_crashes_of_known_times_count() -> None:
    """The oldest sample's bin is one of them; a host that crashed without the update speaks for it."""
    kept = samples(KEPT_BINS)
    one_more, plain = said([crash(NEWEST - KEPT_BINS + 1), *NOW], kept), said(NOW, kept)
    assert one_more[0] < plain[0]
    assert (one_more[1], plain[1]) == (12, 12)
    assert plain[0] > np.log(2.0)
