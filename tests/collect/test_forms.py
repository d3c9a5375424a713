"""Bodies in other forms than lines of good events: lists, a byte order mark, side issues, and nothing usable at all."""

import gzip
import json
from collections.abc import Iterator

import pytest
import zstandard
from support.collect_gateway import Gateway, Reader, event, run_broker, run_gateway

from pipeline.collect.body import numbered_lines
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.wire import topics
from pipeline.wire.elements import Elements


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """One broker for all of these tests."""
    with run_broker() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway."""
    with run_gateway(broker.bootstrap_servers, tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="module")
def events(broker: EmbeddedBroker) -> Iterator[Reader]:
    """What stands on fleet.events."""
    reader = Reader(broker.bootstrap_servers, topics.EVENTS)
    yield reader
    reader.close()


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_is_its_elements(gateway: Gateway, events: Reader, kind: str, indent: int | None) -> None:
    """What Vector and Fluent Bit send unless told otherwise: every element counts for itself, numbered as lines are."""
    good = [json.loads(event(n, id=f"{kind}-{indent}-{n}", note="[}, {")) for n in (50, 52)]
    body = json.dumps([good[0], {"kind": "x"}, 7, good[1]], indent=indent).encode()
    answer = gateway.post(body, kind=kind)
    assert (answer.status, answer.body["accepted"]) == (202, 2)
    assert [(entry["line"], entry["reason"]) for entry in answer.body["rejected"]] == [
        (2, "unknown_kind"),
        (3, "not_an_object"),
    ]
    ids = [each["id"] for each in good]
    events.wait_until(lambda m: json.loads(m.value() or b"{}").get("id") in ids, count=2)


def test_lists_in_lines_are_their_elements(gateway: Gateway) -> None:
    """A sender that batches lists; and one list that was cut off is refused as the line that it is."""
    body = b"\n".join((b"[%s,%s]" % (event(53), event(54)), b"[%s]" % event(55)))
    assert gateway.post(body).body == {"accepted": 3, "rejected": []}
    answer = gateway.post(body[:-3])
    assert (answer.body["accepted"], [entry["line"] for entry in answer.body["rejected"]]) == (2, [3])


def test_a_list_is_bounded_before_it_is_made(gateway: Gateway) -> None:
    """Tens of thousands of elements are refused unmade, whatever they are; an empty list is an empty body."""
    for body, status, error in (
        (b"[" + b"1," * 60_000 + b"1]", 413, "too_many_events"),
        (b"[" + b"[]," * 60_000 + b"{}]", 413, "too_many_events"),
        (b"[" + b"{}," * 60_000 + b"{}]", 413, "too_many_events"),
        (b"[ ]", 400, "empty_body"),
    ):
        answer = gateway.post(body)
        assert (answer.status, answer.body["error"]) == (status, error)


@pytest.mark.parametrize("bad", [b"null", b"7", b'"x"', b"[1]"])
def test_one_bad_element_of_a_long_list_is_refused_by_itself(gateway: Gateway, bad: bytes) -> None:
    """However long the list is, what stands beside it is taken."""
    answer = gateway.post(b"[%s,%s]" % (b",".join(event(n, note="," * 30) for n in range(2_000)), bad))
    assert (answer.status, answer.body["accepted"]) == (202, 2_000)
    assert [(entry["line"], entry["reason"]) for entry in answer.body["rejected"]] == [(2_001, "not_an_object")]


@pytest.mark.parametrize("repeated", [1, 400])
def test_a_list_is_cut_as_a_backtest_cuts_it(repeated: int) -> None:
    """Long or short, over lines or several in lines: what the gateway numbers is what a backtest of the body reads."""
    texts = [b'{"a": "]},[{\\"", "b": [1, {}]}', b"null", b'" , "', b"-1.5e3", b"[[], 2]", b"true", b"{}"]
    over_lines = b"[ " + b" ,\n ".join(texts * repeated) + b" ]\n"
    in_lines = b"[" + b", ".join(texts * repeated) + b"]\n"
    for body in (over_lines, in_lines * 2):
        elements = Elements()
        cut = elements.feed(body) + elements.finish()
        assert [raw for _, raw in numbered_lines(body, "", len(cut))] == cut


def test_what_is_mended_is_said(gateway: Gateway, events: Reader) -> None:
    """A side issue loses no event: its bytes are forwarded as they came, and the sender hears what was mended."""
    update = {"vendor": "v", "product": "p", "version": "1", "installed_at": 1_764_000_000}
    raw = event(56, region=None, updates=[update])
    answer = gateway.post(b"\xef\xbb\xbf" + raw)
    assert answer.status == 202
    assert answer.body == {"accepted": 1, "rejected": [], "mended": {"null_text": 1, "time_form": 1}}
    events.wait_until(lambda m: m.value() == raw)


def test_what_is_refused_after_all_was_not_mended(gateway: Gateway) -> None:
    """Only mends of what is forwarded are said: another fleet's event, and one of the future, are not."""
    ahead = json.loads(event(56))["ts"] + 86_400_000
    lines = [event(56, region=None), event(56, region=None, fleet="other"), event(56, site=7, ts=ahead)]
    answer = gateway.post(b"\n".join(lines))
    assert (answer.status, answer.body["accepted"], answer.body["mended"]) == (202, 1, {"null_text": 1})


def test_a_byte_order_mark_makes_nobody_another_fleet(gateway: Gateway) -> None:
    """Also before a line that has the word more than once, so that its members are looked at."""
    answer = gateway.post(event(61) + b"\n\xef\xbb\xbf" + event(60, host="fleet"))
    assert (answer.status, answer.body["rejected"]) == (202, [])


CSV = b"fleet,host,ts,kind\nacme,h,1764000000000,boot\n"


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (gzip.compress(event(62)), "application/json", 415, "`Content-Encoding: gzip`"),
        (zstandard.compress(event(62)), "application/x-ndjson", 415, "`Content-Encoding: zstd`"),
        (event(62).decode().encode("utf-16"), "application/json", 415, "UTF-16: send UTF-8"),
        (event(62).decode().encode("utf-16-be"), "application/json", 415, "UTF-16: send UTF-8"),
        (CSV, "application/x-ndjson", 422, "looks like CSV"),
        (CSV.replace(b",", b";"), "application/x-ndjson", 422, "looks like CSV"),
        (event(62) + event(63), "application/x-www-form-urlencoded", 422, "use `--data-binary @FILE`"),
        (b"events=%7B%7D&x=1", "application/x-www-form-urlencoded", 422, "looks like a form"),
        (b'{"events": [' + event(62) + b"]}", "application/json", 422, 'in "events" of one object'),
        (b"hello", "application/json", 422, "send JSON objects, one a line"),
    ],
    ids=["gzip", "zstd", "utf-16", "utf-16-be", "csv", "semicolons", "curl-d", "form", "wrapped", "words"],
)
def test_other_forms_are_told_what_to_do(gateway: Gateway, body: bytes, kind: str, status: int, words: str) -> None:
    """What looks like something else than events is named, with the remedy."""
    answer = gateway.post(body, kind=kind)
    assert answer.status == status
    assert words in answer.body["detail"]


def test_what_is_right_beside_a_line_that_is_not_needs_no_hint(gateway: Gateway) -> None:
    """A line of another form refuses itself alone."""
    answer = gateway.post(CSV + event(64))
    assert (answer.status, len(answer.body["rejected"]), "detail" in answer.body) == (202, 2, False)


def test_a_body_of_which_nothing_was_usable_is_no_success(gateway: Gateway) -> None:
    """422 with the reasons and what to do: a sender that looks at the status only must not take it for delivered."""
    answer = gateway.post(event(57, ts=1_764_000_000) + b"\n" + event(58, ring=""))
    assert answer.status == 422
    assert [entry["detail"] for entry in answer.body["rejected"]] == [
        "ts looks like seconds; milliseconds are expected",
        'ring is "": use unassigned',
    ]
