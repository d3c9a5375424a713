"""What the correlator puts on topics, as records; and what it reads from its own. Pure."""

import msgspec

from pipeline.correlate.check import check_partial, check_size
from pipeline.correlate.config import STAGE
from pipeline.correlate.ports import CommandRecord, OutRecord, PartialRecord
from pipeline.wire import topics
from pipeline.wire.deadletter import DeadLetter as DeadLetter
from pipeline.wire.halts import Halt, encode_halt
from pipeline.wire.partials import Partial as Partial
from pipeline.wire.partials import decode_partial
from pipeline.wire.reasons import MalformedMessage, Reason
from pipeline.wire.seal import Seal
from pipeline.wire.spans import DAY_MS
from pipeline.wire.verdicts import Verdict, Word, encode_verdict

TOPIC = topics.PARTIALS.name
Read = Partial | DeadLetter
PARTIALS_LOST = "partials_lost"  # a flag of verdicts


class PartialReader:
    """Reads partials; with a seal it believes only those that carry it. `unsealed` counts the others."""

    def __init__(self, seal: Seal | None = None) -> None:
        self.seal = seal
        self.unsealed = 0

    def read(self, message: PartialRecord) -> Read:
        """The partial that the record holds, in which all makes sense; else the letter that it becomes."""
        try:
            return self._checked(message)
        except MalformedMessage as error:
            reason, detail = error.reason, error.detail
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            reason, detail = Reason.MALFORMED_PARTIAL, str(error)
        self.unsealed += reason is Reason.UNSEALED_PARTIAL
        return _letter(message, reason, detail)

    def _checked(self, message: PartialRecord) -> Partial:
        check_size(message.value)
        if self.seal is not None:
            self.seal.check(message.value)
        partial = decode_partial(message.value)
        check_partial(partial, message.appended_at_ms)
        return partial


def misplaced(message: PartialRecord) -> DeadLetter:
    """What a partial becomes that stands where its fleet's are not."""
    return _letter(message, Reason.MALFORMED_PARTIAL, "this partition is not its fleet's")


def _letter(message: PartialRecord, reason: Reason, detail: str) -> DeadLetter:
    return DeadLetter(message.value, message.key, reason, detail, TOPIC, message.partition, message.offset, STAGE)


def untrusted_command(record: CommandRecord, why: str) -> DeadLetter:
    """What a record of `fleet.commands` becomes that no trusted operator signed."""
    place = (topics.COMMANDS.name, record.partition, record.offset, STAGE)
    return DeadLetter(record.value, record.key, Reason.UNTRUSTED_COMMAND, why, *place)


def audit_record(key: str, raw: bytes) -> OutRecord:
    """For `fleet.audit`; `raw` is the entry, signed."""
    return OutRecord(topics.AUDIT.name, key.encode(), raw)


def letter_record(letter: DeadLetter) -> OutRecord:
    """For `fleet.deadletter`."""
    return OutRecord(topics.DEADLETTER.name, letter.key, letter.value, letter.headers())


def halt_record(halt: Halt) -> OutRecord:
    """For `fleet.halts`."""
    return OutRecord(topics.HALTS.name, halt.key.encode(), encode_halt(halt))


def verdict_record(verdict: Word) -> OutRecord:
    """For `fleet.verdicts`; signed before."""
    return OutRecord(topics.VERDICTS.name, verdict.key.encode(), encode_verdict(verdict))


def with_loss(verdict: Verdict, lost_at_ms: int) -> Verdict:
    """Flagged, for a day after partials of its fleet were found to have been deleted unread."""
    if not lost_at_ms or verdict.at - lost_at_ms > DAY_MS:
        return verdict
    return msgspec.structs.replace(verdict, flags=(*verdict.flags, PARTIALS_LOST))
