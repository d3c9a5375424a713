"""Settings of the combiner."""

from typing import Annotated

import msgspec

from pipeline.wire.partials import MAX_PARTIAL_EVENTS
from pipeline.wire.spans import HOUR_MS

Doc = msgspec.Meta

STAGE = "combine"
GROUP = "andon-combine"
MAX_BATCH_MS = 100  # with messages waiting a batch may last this long; else `batch_ms`


class CombineConfig(msgspec.Struct, frozen=True):
    """How the combiner runs."""

    slot: Annotated[
        str, Doc(pattern="^[A-Za-z0-9._-]{1,32}$", description="name of this worker slot, stable across restarts")
    ] = "0"
    batch_ms: Annotated[int, Doc(ge=1, le=MAX_BATCH_MS, description="longest wait for a micro-batch to fill")] = 50
    batch_messages: Annotated[int, Doc(ge=1, le=MAX_PARTIAL_EVENTS, description="most messages in a micro-batch")] = (
        MAX_PARTIAL_EVENTS
    )
    window_hours: Annotated[int, Doc(ge=1, le=168, description="how long after its installation an update is new")] = 72
    admission_entries: Annotated[int, Doc(ge=1024, description="hosts remembered per hour; a power of two")] = 1 << 22
    max_rejected_share: Annotated[
        float, Doc(gt=0, le=1, description="the stage stops when more of its messages cannot be used; 1: never")
    ] = 0.9
    rejected_window: Annotated[int, Doc(ge=1, description="messages over which that share is taken, at least")] = 20_000

    def __post_init__(self) -> None:
        if self.admission_entries & (self.admission_entries - 1):
            raise ValueError(f"combine.admission_entries = {self.admission_entries}: must be a power of two")

    @property
    def identity(self) -> str:
        """The slot's `group.instance.id` and `transactional.id`."""
        return f"{GROUP}-{self.slot}"

    @property
    def window_ms(self) -> int:
        """`window_hours` in the unit of events' times."""
        return self.window_hours * HOUR_MS
