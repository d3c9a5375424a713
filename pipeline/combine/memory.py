"""What a process remembers from batch to batch: which trials counted, and which samples were written. Pure.

All of it is soft: forgotten, a host may count once more in its hour, and more samples are written than need be.
"""

from pipeline.combine.admit import Admission
from pipeline.combine.fold import Fold
from pipeline.combine.sieve import SampleSieve
from pipeline.wire.hosts import HostNames as HostNames  # for who makes one


class Memory:
    """Batches ask it before they are folded, one after the other. After each comes `commit` or `rollback`."""

    def __init__(self, entries: int = 1 << 22, hosts: HostNames | None = None) -> None:
        self.hosts = hosts or HostNames()
        self.admission = Admission(entries)
        self.sieve = SampleSieve()

    def commit(self, fold: Fold) -> None:
        """The batch has been written: what it admitted and what it sampled is remembered."""
        self.admission.commit()
        self.sieve.note(fold.written)

    def rollback(self) -> None:
        """The batch was given up and comes again: what it admitted is forgotten."""
        self.admission.rollback()
