"""Faster decoding of the same types: words that recur become literals, which need no new string and no new hash.

There is one set of rules, in `pipeline.wire.events`. This decoder reads the very same types with their recurring texts
narrowed to the words learned so far; whatever it refuses, an unseen word or a malformed message, `decode_event` judges.

Where lists of updates are remembered, an event is read without its own. That is known by the bytes of the host's last
one, or read too.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, Union

import msgspec

from pipeline.wire.decode import decode_event
from pipeline.wire.events import MAX_MESSAGE_BYTES, MAX_UPDATES, AnyEvent, Boot, Crash, Heartbeat, Update
from pipeline.wire.listed import KnownLists
from pipeline.wire.mending import Mends
from pipeline.wire.reasons import MalformedMessage

MAX_WORDS = 4096  # past these, learning starts over
_LEARN_AT = 4  # how often a word is seen among unseen ones before it is learned
_FIRST_PAUSE, _LONGEST_PAUSE = 64, 65_536  # misses between two lessons: building a decoder takes milliseconds

_HOST, _KEY, _NO_LIST = b'"host":"', b'"updates"', b'"updates":null'

Decode = Callable[[bytes], AnyEvent]
Refuse = Callable[[int, MalformedMessage], None]
Mended = Callable[[int, AnyEvent, Mends], None]


class LearnedDecoder:
    """Decodes batches of messages exactly as `decode_event` would, and learns their words on the way; with `lists`,
    most events have a `Listed` for their updates."""

    def __init__(self, lists: KnownLists | None = None) -> None:
        self.words: frozenset[str] = frozenset()
        self._lists = lists
        self._fast: Decode = _nothing_learned
        self._seen: Counter[str] = Counter()
        self._misses, self._pause = 0, _FIRST_PAUSE

    def decode_all(self, messages: Sequence[bytes], refuse: Refuse, mended: Mended = lambda *_: None) -> list[AnyEvent]:
        """The events of the messages that are none's refusal; `refuse` gets the index and the error of each other,
        `mended` the index of each that had to be mended, its event, and what was."""
        events: list[AnyEvent] = []
        refused = 0
        if max(map(len, messages), default=0) > MAX_MESSAGE_BYTES:
            fast: Decode = decode_event
        else:
            fast = self._fast
        rest = iter(messages)
        while True:
            try:
                events.extend(map(fast, rest))  # on an error, what was decoded before it is kept
                break
            except (msgspec.DecodeError, UnicodeError, RecursionError, MalformedMessage):
                index = len(events) + refused
            mends: Mends = {}
            try:
                events.append(decode_event(messages[index], mends))
            except MalformedMessage as error:
                refused += 1
                refuse(index, error)
                continue
            if mends:
                mended(index, events[-1], mends)
            else:  # to know the words of what is mended would not make it any faster
                self._misses += 1
                self._seen.update(_words(events[-1]))
        if self._misses >= self._pause:
            self._learn()
        return events

    def _learn(self) -> None:
        fresh = {word for word, times in self._seen.items() if times >= _LEARN_AT}
        self._seen.clear()
        self._misses, self._pause = 0, min(2 * self._pause, _LONGEST_PAUSE)
        if fresh <= self.words:
            return
        known = self.words | fresh
        self.words = frozenset(known if len(known) <= MAX_WORDS else sorted(fresh)[:MAX_WORDS])
        self._fast = _decoder(self.words) if self._lists is None else _remembering(self.words, self._lists)


def _nothing_learned(_: bytes) -> AnyEvent:
    raise msgspec.ValidationError("no word is known yet")


def _words(event: AnyEvent) -> Iterator[str]:
    yield from (event.fleet, event.ring, event.os, event.model)
    yield from filter(None, (event.region, event.site))
    for update in event.updates:
        yield from (update.vendor, update.product, update.version)


def _decoder(words: frozenset[str], updates: Any = None) -> Decode:
    """Of events whose words are these; `updates` is the type of their lists, None for lists with these words."""
    known: Any = Literal[tuple(sorted(words))]
    place: Any = Literal[("", *sorted(words))]
    listed: Any = updates or _list_of(known)
    none: Any = tuple[()]  # who removed something is read by `decode_event`
    kinds = (Boot[known, place, listed, none], Crash[known, place, listed, none], Heartbeat[known, place, listed, none])
    types: Any = Union[kinds]  # noqa: UP007
    decode: Decode = msgspec.json.Decoder(types).decode
    return decode


def _list_of(word: Any) -> Any:
    return Annotated[tuple[Update[word], ...], msgspec.Meta(max_length=MAX_UPDATES)]


def _remembering(words: frozenset[str], lists: KnownLists) -> Decode:
    """The same, and the list that a host had before is not read again: what is read is the event with null for it. A
    new list is read by itself, and remembered."""
    whole, without_list = _decoder(words), _decoder(words, type(None))
    known: Any = Literal[tuple(sorted(words))]
    decode_list = msgspec.json.Decoder(_list_of(known)).decode
    of_host, set_field = lists.of_host, msgspec.structs.force_setattr

    def decode(message: bytes) -> AnyEvent:
        if len(message) < lists.worth_bytes:
            return whole(message)
        named = message.find(_HOST) + len(_HOST)
        host = message[named : message.find(b'"', named)]  # what a list is remembered by; whose it is does not matter
        key = message.find(_KEY)
        remembered = of_host.get(host)
        if remembered is None or not message.startswith(remembered.raw, key):
            return read(message, host, key) if lists.has_room or remembered else whole(message)
        end = key + len(remembered.raw)
        if message.find(_KEY, end) >= 0 or b"\\" in message:
            return whole(message)
        event = without_list(message[:key] + _NO_LIST + message[end:])
        set_field(event, "updates", remembered.listed)
        return event

    def read(message: bytes, host: bytes, key: int) -> AnyEvent:
        """An event whose list is new. Only where it can only be the value of the event's one key `updates`, and nothing
        is spelled otherwise than we read it, it is read apart."""
        end = message.find(b"]", key) + 1
        raw = message[key:end]
        start = raw.find(b"[")
        if key < 0 or start < 0 or raw[len(_KEY) : start].strip() != b":":
            return whole(message)
        if message.find(_KEY, key + 1) >= 0 or b"\\" in message:
            return whole(message)
        try:
            event = without_list(message[:key] + _NO_LIST + message[end:])
            updates = decode_list(raw[start:])
        except msgspec.DecodeError:  # a word that is not known, or something in it that we did not expect
            return whole(message)
        set_field(event, "updates", lists.remember(host, raw, updates))
        return event

    return decode
