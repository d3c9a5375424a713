"""Partials as they stand on `fleet.partials`, and what people decided between them, each at the place that its entry of
the audit names: as a correlator does it that takes a fleet over. Pure."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pipeline.backtest.judging import Judging, UpdateKey
from pipeline.backtest.noted import Example
from pipeline.correlate.ports import PartialRecord
from pipeline.correlate.records import Partial, PartialReader, misplaced
from pipeline.decide.orders import HaltOrder, Ruling
from pipeline.halt.clerk import ruling_of
from pipeline.halt.ledger import halt_of
from pipeline.wire.audit import AuditEntry
from pipeline.wire.seal import Seal

ISSUED_BY_DETECTOR = "issued"  # the kind of an entry


class Log(NamedTuple):
    """One partition of `fleet.partials`: which log it is ("" when nobody knows), and the end of what is committed."""

    log_id: str
    end: int


class Ruled(NamedTuple):
    """A ruling that was repeated: the entry that holds it, and before which partial."""

    entry: AuditEntry
    ruling: Ruling
    offset: int


class Recorded:
    """One run over partials, those of a partition in their order. `entries` are each fleet's, in their chain's."""

    def __init__(
        self,
        judging: Judging,
        entries: Mapping[str, Sequence[AuditEntry]],
        logs: Mapping[int, Log],
        seal: Seal | None = None,
    ) -> None:
        self.judging = judging
        self._logs, self._reader = logs, PartialReader(seal)
        self._homes: dict[str, int] = {}  # by fleet: the partition that its partials stand on
        self._due = {fleet: deque(entry for entry in chain if entry.effect) for fleet, chain in entries.items()}

    def take(self, records: Sequence[PartialRecord]) -> Iterator[HaltOrder | Ruled]:
        """Take partials in; what people decided before each of them, and the halts that follow."""
        for record in records:
            for fleet in [fleet for fleet, home in self._homes.items() if home == record.partition]:
                yield from self._rule(fleet, record.offset)
            if (partial := self._accepted(record)) is not None:
                self.judging.events += partial.events
                yield from self.judging.step(partial)

    def finish(self) -> Iterator[HaltOrder | Ruled]:
        """The log has ended; what people decided behind its last partial."""
        for fleet, home in self._homes.items():
            yield from self._rule(fleet, self._logs[home].end)
        self.judging.finish()

    def _rule(self, fleet: str, following: int) -> Iterator[Ruled]:
        home = self._homes[fleet]
        log_id, end = self._logs[home]
        due = self._due.get(fleet, deque())
        while due and due[0].partials.is_due(home, log_id, end, following):
            entry = due.popleft()
            if (ruling := ruling_of(entry)) is not None:
                self.judging.rule(fleet, ruling)
                yield Ruled(entry, ruling, following)

    def _accepted(self, record: PartialRecord) -> Partial | None:
        found = self._reader.read(record)
        if isinstance(found, Partial) and self._homes.setdefault(found.fleet, record.partition) != record.partition:
            found = misplaced(record)
        if isinstance(found, Partial):
            return found
        place = f"partition {record.partition}, offset {record.offset}"
        self.judging.notes.refuse(found.reason.value, Example(0, f"{place}: {found.detail}", ""))
        return None


def halts_then(entries: Mapping[str, Sequence[AuditEntry]]) -> dict[UpdateKey, int]:
    """The first halt of each update that the detector issued, by the time (unix ms) of the crash that decided."""
    found: dict[UpdateKey, int] = {}
    for chain in entries.values():
        for entry in chain:
            halt = halt_of(entry) if entry.kind == ISSUED_BY_DETECTOR else None
            if halt is not None and halt.action == "halt" and halt.decided_by == "andon":
                at_ms = halt.evidence.stream_time if halt.evidence is not None else halt.issued_at
                found.setdefault((halt.fleet, halt.vendor, halt.product, halt.version), at_ms)
    return found
