"""Configuration of the archive."""

from typing import Annotated

import msgspec

from pipeline.wire.hosts import HostsConfig as HostsConfig  # its command reads it, too

Doc = msgspec.Meta

STAGE = "archive"
GROUP = "andon-archive"


class ArchiveConfig(msgspec.Struct, frozen=True):
    """Section "archive"."""

    slot: Annotated[int, Doc(ge=0, description="number of this worker: its stable place in the group")] = 0
    batch_ms: Annotated[int, Doc(ge=10, description="longest time that a row waits for its batch")] = 500
    batch_rows: Annotated[int, Doc(ge=1, le=500_000, description="rows of a batch that is sent at once")] = 50_000
    max_held_rows: Annotated[int, Doc(ge=1, description="rows held in all before reading pauses")] = 120_000
    max_held_bytes: Annotated[int, Doc(ge=1 << 20, description="the same in bytes: dead letters are large")] = 64 << 20
