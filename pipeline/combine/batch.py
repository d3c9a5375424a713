"""One micro-batch: messages in, a fold and dead letters out. Knows messages by the few methods it calls; no I/O."""

from collections.abc import Sequence
from typing import Any, Protocol

from pipeline.combine.event_batch import EventBatch
from pipeline.combine.fold import Fold
from pipeline.combine.memory import Memory
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.events import MAX_SKEW_MS, AnyEvent, check_not_future
from pipeline.wire.learned import LearnedDecoder
from pipeline.wire.mending import Mends
from pipeline.wire.reasons import MalformedMessage

_LOG_APPEND_TIME = 2  # of the kinds of timestamps that Kafka has
_TIMESTAMP_EVERY = 64  # reading a record's timestamp costs a tenth of decoding it


class ConsumedMessage(Protocol):
    """What a batch needs of confluent_kafka.Message."""

    def value(self) -> bytes | None: ...
    def key(self) -> bytes | None: ...
    def error(self) -> Any: ...
    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def timestamp(self) -> tuple[int, int]: ...


class Batch:
    """What has been read since the last commit."""

    def __init__(self, decoder: LearnedDecoder, memory: Memory, window_ms: int) -> None:
        self.dead_letters: list[DeadLetter] = []
        self.errors: list[Any] = []  # KafkaError: what the client reports in between the messages
        self.messages = 0
        self.events = 0
        self.ingested_at_ms = 0
        self._decoder = decoder
        self._events = EventBatch(memory, window_ms)

    def take(self, messages: Sequence[ConsumedMessage], now_ms: int) -> None:
        """Take in messages that have just been read; those that cannot be used become dead letters."""
        refused: list[tuple[int, MalformedMessage]] = []
        mended: list[tuple[AnyEvent, Mends]] = []
        values = [message.value() or b"" for message in messages]
        events = self._decoder.decode_all(
            values,
            lambda index, error: refused.append((index, error)),
            lambda _, event, mends: mended.append((event, mends)),
        )
        kept: Sequence[ConsumedMessage] = messages
        if refused:
            out = {index for index, _ in refused}
            kept = [message for index, message in enumerate(messages) if index not in out]
            for index, error in refused:
                self._refuse(messages[index], error)
        events, kept = self._not_future(events, kept, now_ms)
        self._note(mended, events)
        self.messages += len(messages)
        self.events += len(events)
        self._events.add(events, lambda index: (kept[index].partition() or 0, kept[index].offset() or 0))

    def fold(self) -> Fold:
        """What was taken in, as one value."""
        return self._events.fold()

    def _note(self, mended: Sequence[tuple[AnyEvent, Mends]], events: Sequence[AnyEvent]) -> None:
        """What was mended in those that count; what else was wrong with one that is refused says its letter."""
        used = {id(event) for event in events} if mended else set()
        for event, mends in mended:
            if id(event) in used:
                self._events.note(event.fleet, mends)

    def _not_future(
        self, events: list[AnyEvent], messages: Sequence[ConsumedMessage], now_ms: int
    ) -> tuple[list[AnyEvent], Sequence[ConsumedMessage]]:
        """Without the events whose time is ahead of their ingestion.

        Times of ingestion hardly differ within so few records: only when an event is ahead of some of them by half of
        what is allowed, each is compared with its own.
        """
        if not events:
            return events, messages
        ingested = [_ingested_ms(message, now_ms) for message in (*messages[::_TIMESTAMP_EVERY], messages[-1])]
        self.ingested_at_ms = max(self.ingested_at_ms, *ingested)
        if max([event.ts for event in events]) <= min(ingested) + MAX_SKEW_MS // 2:
            return events, messages
        kept: list[int] = []
        for index, event in enumerate(events):
            try:
                check_not_future(event, _ingested_ms(messages[index], now_ms))
                kept.append(index)
            except MalformedMessage as error:
                self._refuse(messages[index], error)
                self._events.note_clock(event.fleet, event.host, event.ts - _ingested_ms(messages[index], now_ms))
        return [events[index] for index in kept], [messages[index] for index in kept]

    def _refuse(self, message: ConsumedMessage, error: MalformedMessage) -> None:
        if message.error() is not None:  # its value is the client's complaint, never a valid event
            self.errors.append(message.error())
            return
        letter = DeadLetter(
            value=message.value() or b"",
            key=message.key(),
            reason=error.reason,
            detail=error.detail,
            topic=message.topic() or "",
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            stage="combine",
        )
        self.dead_letters.append(letter)


def _ingested_ms(message: ConsumedMessage, now_ms: int) -> int:
    """When the record came. Where the topic leaves that to senders, whose clocks may be wrong, not later than now: the
    correlator refuses a whole partial in which a single time is ahead."""
    kind, stamp_ms = message.timestamp()
    return stamp_ms if kind == _LOG_APPEND_TIME else min(stamp_ms, now_ms)
