"""What stands halted, as gauges: figures that an alert can stand on."""

import json
import time

from prometheus_client import generate_latest
from support.rollout_world import NAMES, NOW, TRUSTED, alarm, beat, halt, verdict

from consumers.notify.gauges import LIVE_MS, MAX_UPDATES, gauges
from pipeline.halt.safety import SafetyRecord
from pipeline.halts.facts import Obeyed, Row, row_of
from pipeline.halts.known import Known
from pipeline.runtime import metrics
from pipeline.runtime.metrics import Family, Series
from pipeline.wire import topics
from pipeline.wire.record_keys import parse_key
from pipeline.wire.verdicts import Verdict, decode_verdict

KEY = "/".join(NAMES.values())
OF = tuple(parse_key(KEY))


def told(*rows: Row) -> dict[Family, list[Series]]:
    """The series of each family."""
    return dict(gauges(rows, {row.key: NOW for row in rows}, SafetyRecord(TRUSTED)))


def row(*messages: tuple[str, bytes, bytes | None], obeyed: tuple[Obeyed, ...] = ()) -> Row:
    """The update as these records have it."""
    known = Known(TRUSTED, KEY)
    for topic, key, value in messages:
        (known.put_halt if topic == topics.HALTS.name else known.put_word)(key, value)
    known.settle()
    found = row_of(known, KEY, NOW + 1)
    found.obeyed = [*obeyed]
    return found


def test_who_owes_an_answer_is_counted_and_who_owes_none_is_zero() -> None:
    """Confirmed, only requested, silent, not concerned."""
    obeyed = (
        Obeyed(subscriber="a", status="confirmed", seconds_to_confirmed=2.5),
        Obeyed(subscriber="b", status="requested"),
        Obeyed(subscriber="c", status="unanswered"),
        Obeyed(subscriber="d", status="ignored"),
    )
    found = told(row(halt(1), verdict("halted", spreading_hosts_per_minute=12.0), beat(), obeyed=obeyed))
    assert found[metrics.UNANSWERED] == [(("acme", "a"), 0), (("acme", "b"), 0), (("acme", "c"), 1), (("acme", "d"), 0)]
    assert found[metrics.UNCONFIRMED] == [
        (("acme", "a"), 0),
        (("acme", "b"), 1),
        (("acme", "c"), 1),
        (("acme", "d"), 0),
    ]
    assert found[metrics.CONFIRM_SECONDS] == [(("acme", "a"), 2.5)]
    assert found[metrics.SPREADING] == [(OF, 12.0)]
    assert found[metrics.HALT_STATES] == [(("acme", "standing"), 1)]
    assert found[metrics.STANDS_SINCE] == [(OF, NOW / 1000)]


def test_whether_it_spreads_is_no_zero_while_nobody_knows() -> None:
    """A halt without a verdict, or whose verdict does not say, has no sample; what is flat or none has."""
    assert told(row(halt(1)))[metrics.SPREADING] == []
    assert told(row(halt(1), verdict("halted")))[metrics.SPREADING] == []
    calm = verdict("halted", spreading_hosts_per_minute=0.0)
    assert told(row(halt(1), calm))[metrics.SPREADING] == [(OF, 0.0)]
    assert told(row(halt(1), verdict("halted", flat_since=NOW)))[metrics.SPREADING] == [(OF, 0.0)]


def test_a_halt_in_doubt_and_an_alarm_are_gauges() -> None:
    """One while the halt stands and later evidence speaks for another; the alarm as the heartbeat has it."""
    doubtful = verdict("halted", flags=("doubtful",), doubted_for=("v/p/2",))
    assert told(row(halt(1), doubtful))[metrics.DOUBTFUL] == [(OF, 1.0)]
    assert told(row(halt(1), verdict("halted")))[metrics.DOUBTFUL] == []
    assert told(row(halt(1), halt(2, "resume"), doubtful))[metrics.DOUBTFUL] == []
    record = SafetyRecord(TRUSTED)
    for _, key, value in [beat(NOW, flags=("unattributed_alarm",)), beat(NOW, fleet="calm"), alarm()]:
        assert record.take_word(key, value) == ""
    found = dict(gauges([], {}, record))
    assert found[metrics.FLEET_ALARM] == [(("acme",), 1.0), (("calm",), 0.0)]
    assert found[metrics.FLEET_ALARM_RISE] == [(("acme",), 152 / 12)]
    _, key, value = beat(NOW + 10_000)
    assert record.take_word(key, value) == ""
    assert dict(gauges([], {}, record))[metrics.FLEET_ALARM][0] == (("acme",), 0.0)


def test_a_resume_owes_nothing_and_says_when_it_ends() -> None:
    """And what waits for a person says since when."""
    resumed = told(row(halt(1), halt(2, "resume"), obeyed=(Obeyed(subscriber="a", status="unanswered"),)))
    assert resumed[metrics.UNANSWERED] == [(("acme", "a"), 0)]
    assert resumed[metrics.RESUME_ENDS] == [(OF, NOW / 1000 + 3_600)]
    assert resumed[metrics.STANDS_SINCE] == []
    pending = told(row(verdict("pending")))
    assert pending[metrics.PENDING_SINCE] == [(OF, NOW / 1000)]
    assert pending[metrics.HALT_STATES] == [(("acme", "pending"), 1)]


def test_live_updates_are_named_by_evidence_and_the_rest_is_counted() -> None:
    """The ring with the most speaks for its update; a heartbeat says when it was."""
    record = SafetyRecord(TRUSTED)
    words = [verdict("watching", version=str(number), log10_evidence=number / 100) for number in range(MAX_UPDATES + 2)]
    for _, key, value in [*words, verdict("watching", version="0", ring="canary", log10_evidence=9.0), beat(NOW)]:
        assert record.take_word(key, value) == ""
    found = dict(gauges([], {}, record))
    assert found[metrics.EVIDENCE][0] == (("acme", "crowdstrike", "falcon-content", "0"), 9.0)
    assert len(found[metrics.EVIDENCE]) == MAX_UPDATES
    assert found[metrics.UPDATES_NOT_SHOWN] == [(("acme",), 2)]
    assert found[metrics.EVIDENCE_NOT_SHOWN] == [(("acme",), 0.02)]
    assert found[metrics.UPDATE_STATE][0] == (("acme", "crowdstrike", "falcon-content", "0", "watching"), 1.0)
    assert found[metrics.VERDICT_STATES] == [(("acme", "watching"), MAX_UPDATES + 3)]
    assert found[metrics.CRASHES_PER_TRIAL][0][1] == 3 / 9_120
    assert found[metrics.HEARTBEAT] == [(("acme",), NOW / 1000)]
    assert found[metrics.FLEET_EVENTS] == [(("acme",), 9)]


def test_an_update_stands_as_in_its_worst_ring_and_what_is_long_gone_is_not_live() -> None:
    """Verdicts stay on their topic for ever."""
    record = SafetyRecord(TRUSTED)
    old = verdict("watching", version="old", at=NOW - LIVE_MS - 1, log10_evidence=5.0)
    for _, key, value in [verdict("cleared"), verdict("pending", ring="canary"), old, beat(NOW)]:
        assert record.take_word(key, value) == ""
    found = dict(gauges([], {}, record))
    assert found[metrics.UPDATE_STATE] == [((*OF, "pending"), 1.0)]
    assert [of for of, _ in found[metrics.EVIDENCE]] == [OF]


def test_a_scrape_at_a_thousand_live_updates_takes_moments() -> None:
    """Gauges made and shown, in milliseconds of this process's time: 50 are allowed for the scrape."""
    record = SafetyRecord(TRUSTED)
    for number in range(1_000):
        record.verdicts[f"acme/v/p/{number}/*"] = decoded(verdict("watching", version=str(number)))
    started = time.process_time()
    for family, series in gauges([], {}, record):
        metrics.put(family, series)
    made = time.process_time()
    page = generate_latest()
    took = {"gauges_ms": 1000 * (made - started), "scrape_ms": 1000 * (time.process_time() - made), "bytes": len(page)}
    print(json.dumps({name: round(value, 1) for name, value in took.items()}))
    assert page.count(b"andon_update_evidence_log10{") == MAX_UPDATES
    assert took["scrape_ms"] < 50
    for family, _ in gauges([], {}, SafetyRecord(TRUSTED)):
        metrics.put(family, [])


def decoded(message: tuple[str, bytes, bytes | None]) -> Verdict:
    """As it was signed."""
    return decode_verdict(message[2] or b"")
