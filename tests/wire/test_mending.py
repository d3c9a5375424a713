"""The second look: what is a side issue is mended and counted, what makes the event is refused with advice."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.wire.decode import decode_event
from pipeline.wire.events import ANCIENT_MS, MAX_UPDATES, AnyEvent, Boot, Crash
from pipeline.wire.learned import LearnedDecoder
from pipeline.wire.mending import Mends
from pipeline.wire.noted import Noted
from pipeline.wire.reasons import MalformedMessage
from pipeline.wire.spans import DAY_MS

T = 1_764_000_000_000
UPDATE = {"vendor": "crowdstrike", "product": "falcon-content", "version": "291", "installed_at": T - 5_000}
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
BOOT = COMMON | {"kind": "boot", "prior": "crash", "prior_ended_at": T - 1_000}
CRASH = COMMON | {"kind": "crash", "signature": {"code": "0x50", "module": "csagent.sys"}}
WHOLE = decode_event(orjson.dumps(BOOT))
LONG = "C:\\Windows\\System32\\DriverStore\\FileRepository\\" + "nv_dispi.inf_amd64_" * 8


def look(fields: dict[str, Any] | bytes) -> tuple[AnyEvent, Mends]:
    """The event, and what was mended in it."""
    mends: Mends = {}
    return decode_event(fields if isinstance(fields, bytes) else orjson.dumps(fields), mends), mends


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"region": None}, Noted.NULL_TEXT),
        ({"site": None}, Noted.NULL_TEXT),
        ({"site": 7}, Noted.PLACE_UNUSABLE),
        ({"region": "x" * 129}, Noted.PLACE_UNUSABLE),
        ({"ts": float(T)}, Noted.TIME_FORM),
        ({"prior_ended_at": (T - 1_000) // 1_000}, Noted.TIME_FORM),
        ({"updates": [UPDATE | {"installed_at": (T - 5_000) // 1_000}]}, Noted.TIME_FORM),
        ({"updates": [UPDATE | {"installed_at": (T - 5_000) / 1_000}]}, Noted.TIME_FORM),
        ({"updates": [UPDATE | {"installed_at": (T - 5_000) * 1_000}]}, Noted.TIME_FORM),
        ({"updates": [UPDATE | {"installed_at": (T - 5_000) * 1_000_000}]}, Noted.TIME_FORM),
        ({"updates": [UPDATE | {"installed_at": "2025-11-24T15:59:55Z"}]}, Noted.TIME_FORM),
        ({"updates": [UPDATE, {"vendor": "v"}]}, Noted.UPDATES_UNUSABLE),
        ({"updates": [7, UPDATE]}, Noted.UPDATES_UNUSABLE),
        ({"updates": [UPDATE | {"version": ""}, UPDATE]}, Noted.UPDATES_UNUSABLE),
        ({"updates": [UPDATE | {"vendor": "x" * 129}, UPDATE]}, Noted.UPDATES_UNUSABLE),
    ],
)
def test_an_event_is_the_same_without_its_side_issue(change: dict[str, Any], word: Noted) -> None:
    """What is mended leaves the event that it would have been, and is counted once under its word."""
    assert look(BOOT | change) == (WHOLE, {word: 1})


def test_a_byte_order_mark_before_an_event_is_no_part_of_it() -> None:
    """One is taken away; more are not JSON."""
    assert look(b"\xef\xbb\xbf" + orjson.dumps(BOOT)) == (WHOLE, {Noted.BYTE_ORDER_MARK: 1})
    with pytest.raises(MalformedMessage, match="invalid_json"):
        look(b"\xef\xbb\xbf" * 2 + orjson.dumps(BOOT))


@pytest.mark.parametrize("ended", [0, 1_290_311_763_261, 2**60, "yesterday", {}, True])
def test_a_session_that_ended_years_ago_is_undated(ended: Any) -> None:
    """A golden image's log says when it was made: the crash stays, its moment does not."""
    event, mends = look(BOOT | {"prior_ended_at": ended})
    assert isinstance(event, Boot)
    assert (event.prior, event.prior_ended_at, mends) == ("crash", None, {Noted.PRIOR_ENDED_AT_UNUSABLE: 1})


@pytest.mark.parametrize("installed_at", [0, -1, 86_400_000, 2**53, 10**400, None, "2024-07-19", "soon", False])
def test_an_installation_at_no_time_makes_its_host_no_control(installed_at: Any) -> None:
    """The host has the update, nobody knows since when: as if since 2020, it is neither exposed nor control."""
    raw = orjson.dumps(BOOT | {"updates": [UPDATE | {"installed_at": "AT"}]})
    text = str(installed_at) if isinstance(installed_at, int) and installed_at > 2 else orjson.dumps(installed_at)
    event, mends = look(raw.replace(b'"AT"', text.encode() if isinstance(text, str) else text))
    assert [update.installed_at for update in event.updates] == [ANCIENT_MS]
    assert mends == {Noted.INSTALLED_AT_UNUSABLE: 1}


def test_a_version_at_no_time_leaves_no_other_one_to_blame() -> None:
    """Nobody knows which version came last: neither is exposed. Another product, and a second mention of the same
    version, say nothing about that."""
    other = UPDATE | {"product": "sensor"}
    event, mends = look(CRASH | {"updates": [UPDATE, UPDATE | {"version": "292", "installed_at": None}, other]})
    assert [update.installed_at for update in event.updates] == [ANCIENT_MS, ANCIENT_MS, T - 5_000]
    assert mends == {Noted.INSTALLED_AT_UNUSABLE: 1}
    event, _ = look(CRASH | {"updates": [UPDATE, UPDATE | {"installed_at": None}]})
    assert [update.installed_at for update in event.updates] == [T - 5_000, ANCIENT_MS]


def test_a_long_module_keeps_its_last_part() -> None:
    """The folders of a driver store say nothing; the file's name does. A short path stays as it came."""
    event, mends = look(CRASH | {"signature": {"code": "0x116" + " " * 200, "module": LONG + "\\nvlddmkm.sys"}})
    assert isinstance(event, Crash)
    assert (event.signature.code.strip(), event.signature.module) == ("0x116", "nvlddmkm.sys")
    assert mends == {Noted.SIGNATURE_CUT: 2}
    assert look(CRASH | {"signature": {"code": "", "module": "\\drivers\\a.sys"}})[1] == {}
    assert look(CRASH | {"signature": {"code": "", "module": "x" * 129}})[0].signature.module == "x" * 128  # type: ignore[union-attr]


def test_of_too_many_updates_the_newest_stay() -> None:
    """Of 200 programs and one update of today, today's stays, and a driver before programs of the same day."""
    old = [{"vendor": f"v{n}", "product": f"program {n}", "version": "1", "installed_at": T - 100 * DAY_MS}
           for n in range(200)]  # fmt: skip
    driver = {"vendor": "nvidia", "product": "display driver", "version": "5", "installed_at": T - 100 * DAY_MS}
    event, mends = look(BOOT | {"updates": [*old, driver, UPDATE]})
    assert (len(event.updates), mends) == (MAX_UPDATES, {Noted.UPDATES_CUT: 202 - MAX_UPDATES})
    assert [update.product for update in event.updates[-2:]] == ["display driver", "falcon-content"]


def test_old_drivers_do_not_displace_what_has_just_come() -> None:
    """Drivers come first among the updates of these days, not before them."""
    drivers = [{"vendor": "v", "product": f"driver {n}", "version": "1", "installed_at": T - 100 * DAY_MS}
               for n in range(100)]  # fmt: skip
    event, _ = look(BOOT | {"updates": [UPDATE, *drivers]})
    assert event.updates[0].product == "falcon-content"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (BOOT | {"ts": T // 1_000}, "ts looks like seconds; milliseconds are expected"),
        (BOOT | {"ts": T * 1_000}, "ts looks like microseconds; milliseconds are expected"),
        (BOOT | {"ts": "2024-07-19T04:09:00Z"}, "ts must be a number: unix milliseconds"),
        (BOOT | {"ts": 0}, "the host's clock is not set"),
        ({name: value for name, value in BOOT.items() if name != "ring"}, "ring is missing: use unassigned"),
        (BOOT | {"ring": ""}, 'ring is "": use unassigned'),
        (BOOT | {"os": None}, "os is null: use unknown"),
        (BOOT | {"kind": "BSOD"}, "kind must be boot, crash or heartbeat"),
        (BOOT | {"prior": "dirty"}, "prior must be clean, crash or unknown"),
        (BOOT | {"host": "h" * 129}, "host has 129 characters, at most 128 may be"),
        (CRASH | {"signature": {"code": 80, "module": ""}}, 'code must be text: "0x50"'),
        ({name: value for name, value in CRASH.items() if name != "signature"}, "signature is missing: use"),
        (BOOT | {"region": None, "ring": 7}, 'ring must be text: "7"'),
    ],
)
def test_a_refusal_says_what_to_do(fields: dict[str, Any], says: str) -> None:
    """The detail names the field and what would be right."""
    with pytest.raises(MalformedMessage) as refused:
        look(fields)
    assert says in refused.value.detail


def test_batches_tell_what_was_mended_and_where() -> None:
    """The learned decoder mends alike, and names the message."""
    decoder = LearnedDecoder()
    good, mended = orjson.dumps(BOOT), orjson.dumps(BOOT | {"region": None})
    decoder.decode_all([good] * 100, lambda *_: pytest.fail("refused"))
    assert "acme" in decoder.words
    told: list[tuple[int, Mends]] = []
    batch = [good, mended, b"{", mended, good]
    events = decoder.decode_all(batch, lambda *_: None, lambda index, _, mends: told.append((index, dict(mends))))
    assert events == [WHOLE] * 4
    assert told == [(1, {Noted.NULL_TEXT: 1}), (3, {Noted.NULL_TEXT: 1})]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=140),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from([*BOOT, "code", "x"]), inner),
    max_leaves=8,
)


@given(st.sampled_from([BOOT, CRASH]), st.dictionaries(st.sampled_from([*BOOT, "region", "signature"]), json_values))
def test_the_second_look_answers_with_an_event_or_a_refusal(base: dict[str, Any], change: dict[str, Any]) -> None:
    """Whatever the fields say, nothing else is raised; and an event that was mended needs no mending."""
    try:
        event, mends = look(orjson.dumps(base | change, option=orjson.OPT_PASSTHROUGH_DATACLASS))
    except (orjson.JSONEncodeError, MalformedMessage):
        return
    assert all(times > 0 for times in mends.values())
    assert len(event.updates) <= MAX_UPDATES
