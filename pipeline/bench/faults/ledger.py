"""What was produced, written down where it was produced; and what became of it, compared. Pure.

Nothing of the line's own code is used for the produced side: events are read as plain JSON. In partials a crash is seen
by its host (every event here is of a host of its own), everything else by counts per fleet and stratum, and the load
begins a new stratum every few events: a loss here cannot hide behind a repeat there.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson

from pipeline.wire.cells import stratum_of
from pipeline.wire.partials import TRIAL_COLUMNS, Partial

Key = tuple[str, ...]


class Judgement(NamedTuple):
    """`lost` events were produced and not seen, `repeated` ones were seen more often than produced."""

    produced: int
    seen: int
    lost: int
    repeated: int


class Ledger:
    """Every event as it was handed to the producer, and which of them the brokers acknowledged."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.acknowledged = 0
        self.failed: list[str] = []  # why, of those that the brokers never took: whether they did is then unknown

    def add(self, value: bytes) -> None:
        """This one is about to be produced."""
        self.values.append(value)

    def answered(self, error: object, _: object) -> None:
        """A delivery report."""
        if error is None:
            self.acknowledged += 1
        else:
            self.failed.append(str(error))

    def events(self) -> list[dict[str, Any]]:
        """All of them, decoded."""
        return [orjson.loads(value) for value in self.values]


def judge(produced: Mapping[Any, int], seen: Mapping[Any, int]) -> Judgement:
    """Compare two countings of the same things."""
    lost = sum(max(0, count - seen.get(key, 0)) for key, count in produced.items())
    repeated = sum(max(0, count - produced.get(key, 0)) for key, count in seen.items())
    return Judgement(sum(produced.values()), sum(seen.values()), lost, repeated)


def by_id(events: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How often each id occurs."""
    return Counter(event["id"] for event in events)


def by_fleet(events: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How many events each fleet has."""
    return Counter(event["fleet"] for event in events)


def expected_in_partials(events: Iterable[Mapping[str, Any]]) -> Counter[Key]:
    """How events must show in partials."""
    return Counter(
        ("crash", event["fleet"], event["host"])
        if event["kind"] == "crash"
        else ("clean", event["fleet"], event["ring"], event["os"], event["model"])
        for event in events
    )


def seen_in_partial(partial: Partial) -> Counter[Key]:
    """How a partial's events show; its own count of events is compared with this by `unaccounted`."""
    seen: Counter[Key] = Counter(("crash", partial.fleet, crash.host) for crash in partial.crashes)
    for cell, trials in _by_cell(partial).items():
        seen["clean", partial.fleet, *partial.strata[stratum_of(cell)]] += trials
    return seen


def unaccounted(events_by_fleet: Mapping[str, int], seen: Mapping[Key, int]) -> dict[str, int]:
    """By fleet, events that partials count and that show neither as trial nor as crash; negative, when more show than
    are counted. Empty, with hosts of their own. All partials of a fleet together: of a large batch's parts only the
    first counts events."""
    shown: Counter[str] = Counter()
    for (_, fleet, *_), count in seen.items():
        shown[fleet] += count
    apart = {fleet: events_by_fleet.get(fleet, 0) - shown[fleet] for fleet in events_by_fleet.keys() | shown.keys()}
    return {fleet: events for fleet, events in apart.items() if events}


def _by_cell(partial: Partial) -> Counter[int]:
    rows = np.frombuffer(partial.trials, "<i4").reshape(-1, TRIAL_COLUMNS)
    found: Counter[int] = Counter()
    for _, cell, trials in rows.tolist():
        found[cell] += trials
    return found
