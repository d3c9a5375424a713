"""The truth of a simulated run, kept apart from the events: who crashed when and why, and what was emitted."""

from array import array
from collections import Counter

from pipeline.wire.partials import UpdateId

ORDINARY, SHOCK, FAULT = 0, 1, 2  # causes; FAULT + row is the fault of the update in that row


class Ledger:
    """Every crash, also those that no event ever tells of. Times in ms since the scenario's start."""

    def __init__(self, updates: tuple[UpdateId, ...]) -> None:
        self.updates = updates
        self.hosts = array("i")
        self.at = array("q")
        self.causes = array("i")
        self.reports = Counter[str]()  # events emitted, by kind
        self.ids = 0  # events emitted; their ids are the encoder's prefix and 0 … ids-1 in hexadecimal

    def crash(self, host: int, at_ms: int, cause: int) -> None:
        """A host went down."""
        self.hosts.append(host)
        self.at.append(at_ms)
        self.causes.append(cause)

    def lost(self, update: UpdateId, until_ms: int | None = None) -> int:
        """Hosts that the update's fault has crashed, by that time."""
        cause = FAULT + self.updates.index(update)
        rows = zip(self.hosts, self.at, self.causes, strict=True)
        return len({host for host, at, why in rows if why == cause and (until_ms is None or at <= until_ms)})

    def crashes(self, cause: int) -> int:
        """Crashes of one cause."""
        return self.causes.count(cause)
