"""Rows on their way from messages of Kafka to tables of ClickHouse. Pure."""

from typing import NamedTuple

import pyarrow as pa

MILLIS = pa.timestamp("ms", "UTC")


class Rows(NamedTuple):
    """Of some messages of one topic: rows by table, and the reasons of those messages that were refused."""

    tables: dict[str, pa.RecordBatch]
    refused: list[str]

    @property
    def total(self) -> int:
        """Rows of all tables."""
        return sum(rows.num_rows for rows in self.tables.values())

    @property
    def size_bytes(self) -> int:
        """What they take in memory."""
        return sum(rows.nbytes for rows in self.tables.values())
