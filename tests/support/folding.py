"""Folds in which every clean trial counts and any may be sampled: no memory of other batches."""

from collections.abc import Sequence

import numpy as np

from pipeline.combine.emit import partials_of
from pipeline.combine.event_batch import DEFAULT_WINDOW_MS
from pipeline.combine.fold import Fold, fold_of
from pipeline.combine.gather import Gather, Position
from pipeline.combine.sieve import SampleSieve
from pipeline.wire.events import AnyEvent
from pipeline.wire.partials import Partial


def fold_all(events: Sequence[AnyEvent], position: Position) -> Fold:
    """The fold of the events, of which `position` tells partition and offset."""
    gather = Gather()
    gather.add(events, position)
    trials = gather.take_trials()
    gather.keep(trials, np.ones(trials.fleet.size, np.bool_))
    admitted = gather.admitted()
    return fold_of(admitted, SampleSieve().candidates(admitted), DEFAULT_WINDOW_MS)


def partials_all(events: Sequence[AnyEvent], ingested_at_ms: int, first_offset: int = 0) -> list[Partial]:
    """The partials of events that stand one after the other in partition 0."""
    fold = fold_all(events, lambda index: (0, first_offset + index))
    return partials_of(fold, "test", ingested_at_ms)
