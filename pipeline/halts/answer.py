"""All that is known of one update: from Kafka, and from ClickHouse where one is configured."""

from typing import NamedTuple

from pipeline.halts.facts import Row, row_of
from pipeline.halts.known import Known
from pipeline.halts.named import check
from pipeline.halts.reading import read
from pipeline.halts.stored import Asking, Stored, complete
from pipeline.halts.where import Where
from pipeline.runtime.clock import wall_clock_ms
from pipeline.wire.record_keys import parse_key


class Answer(NamedTuple):
    """As of `now_ms`, unix ms."""

    row: Row
    known: Known
    stored: Stored
    now_ms: int

    @property
    def read_until(self) -> int | None:
        """How far the fleet's detector has come, unix ms."""
        beat = self.known.record.beats.get(parse_key(self.row.key)[0])
        return None if beat is None else beat.stream_time


def ask(key: str, place: Where) -> Answer:
    """Both are asked at the same time.

    Raises:
        AndonError: when Kafka does not answer in time, or no record stands under this key.
    """
    asking = Asking(place.clickhouse, key).start()
    known = read(place.kafka, Known(place.trusted, key))
    check(known, key)
    now_ms, stored = wall_clock_ms(), asking.wait()
    row = complete(row_of(known, key, now_ms), stored)
    row.proposals = known.proposed(key, now_ms)
    return Answer(row, known, stored, now_ms)
