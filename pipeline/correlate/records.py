"""What the correlator puts on topics, as records; and what it reads from its own. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.correlate.check import check_partial
from pipeline.correlate.config import STAGE
from pipeline.correlate.fleets import FleetProgress
from pipeline.correlate.ports import OutRecord, PartialRecord
from pipeline.wire import topics
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.halts import Halt, encode_halt
from pipeline.wire.partials import Partial, decode_partial
from pipeline.wire.reasons import MalformedMessage, Reason
from pipeline.wire.record_keys import heartbeat_key, verdict_key
from pipeline.wire.spans import DAY_MS
from pipeline.wire.verdicts import FleetHeartbeat, Verdict, encode_verdict

TOPIC = topics.PARTIALS.name
PARTIALS_LOST = "partials_lost"  # a flag of verdicts


def read_partial(message: PartialRecord) -> Partial | DeadLetter:
    """The partial that the record holds, in which all makes sense; else the letter that it becomes."""
    try:
        partial = decode_partial(message.value)
        check_partial(partial)
    except MalformedMessage as error:
        reason, detail = error.reason, error.detail
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        reason, detail = Reason.MALFORMED_PARTIAL, str(error)
    else:
        return partial
    place = (TOPIC, message.partition, message.offset, STAGE)
    return DeadLetter(message.value, message.key, reason, detail, *place)


def letter_record(letter: DeadLetter) -> OutRecord:
    """For `fleet.deadletter`."""
    return OutRecord(topics.DEADLETTER.name, letter.key, letter.value, letter.headers())


def halt_record(halt: Halt) -> OutRecord:
    """For `fleet.halts`."""
    return OutRecord(topics.HALTS.name, halt.key.encode(), encode_halt(halt))


def verdict_record(verdict: Verdict) -> OutRecord:
    """For `fleet.verdicts`."""
    key = verdict_key(verdict.fleet, verdict.vendor, verdict.product, verdict.version, verdict.ring)
    return OutRecord(topics.VERDICTS.name, key.encode(), encode_verdict(verdict))


def with_loss(verdict: Verdict, lost_at_ms: int) -> Verdict:
    """Flagged, for a day after partials of its fleet were found to have been deleted unread."""
    if not lost_at_ms or verdict.at - lost_at_ms > DAY_MS:
        return verdict
    return msgspec.structs.replace(verdict, flags=(*verdict.flags, PARTIALS_LOST))


def heartbeat_record(fleet: FleetProgress, summary: Mapping[str, Any], now_ms: int) -> OutRecord:
    """For `fleet.verdicts` too; `summary` is its detector's."""
    beat = FleetHeartbeat(
        fleet=fleet.name,
        at=now_ms,
        stream_time=summary["stream_time"],
        live_updates=summary["live_updates"],
        events=fleet.events,
        offset=fleet.offset,
    )
    return OutRecord(topics.VERDICTS.name, heartbeat_key(fleet.name).encode(), encode_verdict(beat))
