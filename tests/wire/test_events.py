"""The wire format of events: every reason for a refusal, and nothing but a refusal whatever the bytes are."""

import copy
import json
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.wire.decode import decode_event
from pipeline.wire.events import (
    LATEST_MS,
    MAX_MESSAGE_BYTES,
    MAX_SKEW_MS,
    AnyEvent,
    Boot,
    Crash,
    Heartbeat,
    check_not_future,
)
from pipeline.wire.learned import MAX_WORDS, LearnedDecoder
from pipeline.wire.listed import KnownLists, Listed
from pipeline.wire.reasons import MalformedMessage, Reason

T = 1_764_000_000_000
UPDATE = {"vendor": "crowdstrike", "product": "falcon-content", "version": "291", "installed_at": T - 1}
COMMON = {
    "v": 1,
    "id": "e-1",
    "fleet": "acme",
    "host": "h-1",
    "ts": T,
    "ring": "canary",
    "os": "windows",
    "model": "xps",
    "updates": [UPDATE],
}
BOOT = COMMON | {"kind": "boot", "prior": "clean"}
CRASH = COMMON | {"kind": "crash", "signature": {"code": "0x50", "module": "csagent.sys"}}
HEARTBEAT = COMMON | {"kind": "heartbeat"}
HOSTILE = (
    "'; DROP TABLE events; --",
    "<script>alert(1)</script>",
    "\x1b[2J\x1b]0;x\x07",
    "a\x00b",
    "${jndi:ldap://x}",
    "\u202e",
)

REFUSED: list[tuple[Reason, bytes | dict[str, Any]]] = [
    (Reason.OVERSIZED, b" " * (MAX_MESSAGE_BYTES + 1)),
    (Reason.OVERSIZED, orjson.dumps(BOOT | {"x": "y" * 10_000_000})),
    (Reason.INVALID_JSON, b""),
    (Reason.INVALID_JSON, orjson.dumps(BOOT)[:-1]),
    (Reason.INVALID_JSON, b'{"ts":NaN}'),
    (Reason.INVALID_JSON, b"\xff\xfe"),
    (Reason.INVALID_JSON, b"\x00"),
    (Reason.INVALID_JSON, b'{"a":' * 12_000),
    (Reason.INVALID_JSON, orjson.dumps(BOOT).replace(b'"acme"', b'"\\ud800"')),
    (Reason.INVALID_JSON, orjson.dumps(BOOT).replace(b'"acme"', b'"\\udc00x"')),
    (Reason.INVALID_JSON, orjson.dumps(BOOT).replace(b'"acme"', b'"\xed\xa0\x80"')),
    (Reason.INVALID_JSON, orjson.dumps(BOOT) + b"{}"),
    (Reason.NOT_AN_OBJECT, b"[]"),
    (Reason.NOT_AN_OBJECT, b"3"),
    (Reason.NOT_AN_OBJECT, b'"text"'),
    (Reason.NOT_AN_OBJECT, b"null"),
    (Reason.UNKNOWN_VERSION, BOOT | {"v": 2}),
    (Reason.UNKNOWN_VERSION, BOOT | {"v": "1"}),
    (Reason.UNKNOWN_KIND, BOOT | {"kind": "reboot"}),
    (Reason.UNKNOWN_KIND, BOOT | {"kind": "at `$.v`"}),
    (Reason.UNKNOWN_KIND, BOOT | {"kind": 7}),
    *((Reason.MISSING_FIELD, {k: v for k, v in BOOT.items() if k != name}) for name in BOOT),
    (Reason.MISSING_FIELD, {k: v for k, v in CRASH.items() if k != "signature"}),
    (Reason.MISSING_FIELD, CRASH | {"signature": {"code": "0x50"}}),
    (Reason.WRONG_TYPE, BOOT | {"ts": str(T)}),
    (Reason.WRONG_TYPE, BOOT | {"ts": True}),
    (Reason.WRONG_TYPE, BOOT | {"ts": T + 0.5}),
    (Reason.WRONG_TYPE, BOOT | {"host": 7}),
    (Reason.WRONG_TYPE, BOOT | {"prior": "`str` of length <= 128"}),
    (Reason.WRONG_TYPE, BOOT | {"updates": {}}),
    (Reason.WRONG_TYPE, BOOT | {"fleet": {"Object missing required field": 1}}),
    (Reason.EMPTY_TEXT, BOOT | {"fleet": ""}),
    (Reason.TEXT_TOO_LONG, BOOT | {"id": "x" * 129}),
    (Reason.OUT_OF_RANGE, BOOT | {"ts": LATEST_MS + 1}),
    (Reason.OUT_OF_RANGE, BOOT | {"ts": 2**53 + 1}),
    (Reason.OUT_OF_RANGE, BOOT | {"ts": T * 1000}),
    (Reason.ANCIENT_TIMESTAMP, BOOT | {"ts": T // 1000}),
    (Reason.NOT_AN_OBJECT, orjson.dumps([BOOT])),
    (Reason.WRONG_TYPE, CRASH | {"signature": {"code": 80, "module": ""}}),
    (Reason.ANCIENT_TIMESTAMP, BOOT | {"ts": 0}),
    (Reason.ANCIENT_TIMESTAMP, BOOT | {"ts": -5}),
]


def raw(message: bytes | dict[str, Any]) -> bytes:
    """The message's bytes."""
    return message if isinstance(message, bytes) else orjson.dumps(message)


def decode(message: bytes) -> AnyEvent | Reason:
    """The event, or the reason that there is none."""
    try:
        return decode_event(message)
    except MalformedMessage as error:
        return error.reason


@pytest.mark.parametrize(("reason", "message"), REFUSED, ids=[f"{n}-{case[0]}" for n, case in enumerate(REFUSED)])
def test_each_refusal_has_its_reason(reason: Reason, message: bytes | dict[str, Any]) -> None:
    """Each malformed message is refused with the reason code that says why."""
    assert decode(raw(message)) is reason


def test_every_reason_of_the_decoder_is_fed() -> None:
    """No reason code is left without an example; those that need more than the bytes are tested elsewhere."""
    elsewhere = {
        Reason.FUTURE_TIMESTAMP, Reason.FLEET_MISMATCH, Reason.MALFORMED_PARTIAL, Reason.UNSEALED_PARTIAL,
        Reason.UNTRUSTED_COMMAND,
    }  # fmt: skip
    assert {reason for reason, _ in REFUSED} | elsewhere == set(Reason)


def test_the_future_is_refused_past_the_allowed_skew() -> None:
    """An event may be ahead of its ingestion by the allowed skew and no more."""
    event = decode_event(orjson.dumps(BOOT))
    check_not_future(event, T - MAX_SKEW_MS)
    with pytest.raises(MalformedMessage) as refused:
        check_not_future(event, T - MAX_SKEW_MS - 1)
    assert refused.value.reason is Reason.FUTURE_TIMESTAMP


def test_good_events_of_each_kind() -> None:
    """The three kinds decode to their types; unknown fields are ignored; no updates at all is fine."""
    assert type(decode_event(orjson.dumps(BOOT | {"new": [1]}))) is Boot
    assert type(decode_event(orjson.dumps(CRASH | {"updates": []}))) is Crash
    assert type(decode_event(orjson.dumps(HEARTBEAT | {"updates": [UPDATE] * 64}))) is Heartbeat


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(text: str) -> None:
    """SQL, HTML, terminal escapes and zero bytes pass through unchanged: they are data."""
    message = CRASH | dict.fromkeys(("id", "fleet", "host", "ring", "os", "model", "region", "site"), text)
    message |= {"signature": {"code": text, "module": text}, "updates": [UPDATE | {"vendor": text, "version": text}]}
    event = decode_event(orjson.dumps(message))
    assert (event.fleet, event.host, event.updates[0].vendor) == (text, text, text)


# Messages that are nearly events: a good one with a few places of its tree replaced.
odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=200),
    st.just([]),
    st.just({}),
    st.sampled_from(HOSTILE),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """An event with fields replaced, removed or added, and perhaps a few bytes changed."""
    message = copy.deepcopy(draw(st.sampled_from([BOOT, CRASH, HEARTBEAT])))
    for _ in range(draw(st.integers(0, 2))):
        target: Any = draw(st.sampled_from([message, *message["updates"]])) if message.get("updates") else message
        name = draw(st.sampled_from([*target, "extra"])) if isinstance(target, dict) else "extra"
        if not isinstance(target, dict):
            continue
        if draw(st.booleans()):
            target.pop(name, None)
        else:
            target[name] = draw(odd_values)
        if not isinstance(message.get("updates"), list):
            break
    encoded = bytearray(_dumps(message))
    for _ in range(draw(st.integers(0, 3))):
        encoded[draw(st.integers(0, len(encoded) - 1))] = draw(st.integers(0, 255))
    return bytes(encoded)


def _dumps(message: Any) -> bytes:
    return json.dumps(message).encode("utf-8", "surrogatepass")


messages = st.one_of(st.binary(max_size=300), mutated())


def texts(event: AnyEvent) -> list[str]:
    """Every text in an event."""
    signature = [event.signature.code, event.signature.module] if isinstance(event, Crash) else []
    updates = [text for update in event.updates for text in (update.vendor, update.product, update.version)]
    names = [event.id, event.fleet, event.host, event.ring, event.os, event.model, event.region, event.site]
    return names + signature + updates


@given(messages)
def test_decoding_never_raises_anything_else(message: bytes) -> None:
    """Any bytes are an event or a MalformedMessage, and the text of an event can always be encoded again."""
    decoded = decode(message)
    assert isinstance(decoded, Reason | AnyEvent)
    if not isinstance(decoded, Reason):
        assert all(text.encode().decode() == text for text in texts(decoded))


def spelled_out(event: AnyEvent) -> AnyEvent:
    """The event with its updates themselves, where its list is remembered."""
    listed: Any = event.updates
    return msgspec.structs.replace(event, updates=tuple(listed.updates())) if isinstance(listed, Listed) else event


@settings(max_examples=60)
@given(st.lists(messages, max_size=30), st.integers(0, 200), st.booleans())
def test_the_learned_decoder_decides_alike(batch: list[bytes], lessons: int, remembers: bool) -> None:
    """Whatever it has learned and remembers, the fast decoder accepts, refuses and reads exactly as `decode_event`."""
    decoder = LearnedDecoder(KnownLists(worth_bytes=0) if remembers else None)
    decoder.decode_all([orjson.dumps(BOOT | {"site": "ber-3"})] * lessons, lambda *_: pytest.fail("refused"))
    assert bool(decoder.words) == (lessons >= 64)
    refused: dict[int, Reason] = {}
    events = decoder.decode_all(batch, lambda index, error: refused.update({index: error.reason}))
    expected = [decode(message) for message in batch]
    assert refused == {n: outcome for n, outcome in enumerate(expected) if isinstance(outcome, Reason)}
    assert [spelled_out(event) for event in events] == [o for o in expected if not isinstance(o, Reason)]


@pytest.mark.parametrize(
    "odd",
    [
        orjson.dumps(BOOT).replace(b'"v":1', b'"v":1,"updates":[17]'),
        orjson.dumps(BOOT).replace(b'"v":1', b'"v":1,"updates":17'),
        orjson.dumps(BOOT).replace(b'"prior"', b'"updates":17,"prior"'),
        orjson.dumps(BOOT | {"host": "updates"}),
        orjson.dumps(BOOT).replace(b'"updates":[', b'"updates":null,"x":['),
        orjson.dumps(BOOT | {"site": "ber-3", "tags": ["x"]}),
        orjson.dumps(BOOT).replace(b'"v":1', b'"v":1,"\\u0075pdates":[17]'),
        orjson.dumps(BOOT).replace(b'"v":1', b'"v":1,"x":{"updates":[]}'),
        orjson.dumps(BOOT).replace(b'"updates":[', b'"updates": [ '),
        orjson.dumps(BOOT | {"updates": []}),
        orjson.dumps(BOOT | {"updates": "none"}),
        orjson.dumps({name: value for name, value in BOOT.items() if name != "updates"}),
    ],
    ids=[
        "twice",
        "first-a-number",
        "last-a-number",
        "a-host",
        "null",
        "a-list-behind",
        "spelled",
        "deeper",
        "spaces",
        "empty",
        "a-text",
        "none",
    ],
)
def test_a_remembered_list_is_read_as_any(odd: bytes) -> None:
    """A list under a key that comes twice, or in another spelling, is refused or read as if none were remembered."""
    decoder, refused = LearnedDecoder(KnownLists(worth_bytes=0)), list[Reason]()
    decoder.decode_all([orjson.dumps(BOOT)] * 100, lambda *_: pytest.fail("refused"))
    for _ in range(2):
        events = decoder.decode_all([odd], lambda _, error: refused.append(error.reason))
        expected = decode(odd)
        assert [spelled_out(event) for event in events] == ([] if isinstance(expected, Reason) else [expected])
        assert refused == ([expected] if isinstance(expected, Reason) else [])
        refused.clear()


def test_a_list_is_read_once() -> None:
    """A host that lists the same again has what was read of it; another time of installation is another list."""
    decoder = LearnedDecoder(KnownLists(worth_bytes=0))
    decoder.decode_all([orjson.dumps(BOOT)] * 100, lambda *_: pytest.fail("refused"))
    batch = [BOOT, BOOT | {"updates": [UPDATE | {"installed_at": T - 2}]}, HEARTBEAT, HEARTBEAT, HEARTBEAT]
    events = decoder.decode_all([orjson.dumps(each) for each in batch], lambda *_: pytest.fail("refused"))
    lists = [event.updates for event in events]
    assert [isinstance(each, Listed) for each in lists] == [True] * 5
    assert lists[2] is lists[3] is lists[4]
    assert lists[1] != lists[0]
    assert [spelled_out(event) for event in events] == [decode(orjson.dumps(each)) for each in batch]


def test_no_more_lists_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past that the lists of other hosts are read each time, and those that are known stay known."""
    monkeypatch.setattr("pipeline.wire.listed.MOST_BYTES", 1_500)
    lists = KnownLists(worth_bytes=0)
    decoder, batch = LearnedDecoder(lists), [orjson.dumps(BOOT | {"host": f"h-{n}"}) for n in range(9)]
    decoder.decode_all([orjson.dumps(BOOT)] * 64, lambda *_: pytest.fail("refused"))
    for _ in range(2):
        events = decoder.decode_all(batch, lambda *_: pytest.fail("refused"))
        assert [spelled_out(event) for event in events] == [decode(message) for message in batch]
    assert list(lists.of_host) == [b"h-0", b"h-1", b"h-2"]


def test_the_learned_decoder_keeps_checking_what_it_knows() -> None:
    """After learning, an oversized message, an ancient time and a long text are still refused, each with its reason."""
    decoder = LearnedDecoder()
    decoder.decode_all([orjson.dumps(BOOT)] * 100, lambda *_: pytest.fail("refused"))
    assert "acme" in decoder.words
    batch = [(reason, raw(message)) for reason, message in REFUSED]
    refused: list[Reason] = []
    assert decoder.decode_all([message for _, message in batch], lambda _, error: refused.append(error.reason)) == []
    assert refused == [reason for reason, _ in batch]


def test_the_vocabulary_is_bounded() -> None:
    """A flood of new words cannot make the decoder grow without end, and what is common is learned again."""
    decoder = LearnedDecoder()
    for start in range(0, 12_000, 400):
        flood = [
            orjson.dumps(BOOT | {"host": "h", "os": f"os-{n}", "model": f"m-{n}"}) for n in range(start, start + 400)
        ]
        decoder.decode_all(flood * 4, lambda *_: pytest.fail("refused"))
        assert len(decoder.words) <= MAX_WORDS
    assert "acme" in decoder.words
