"""What `andon halts` makes of records: rows, the page of one halt, and the screen for whoever is on call."""

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.rollout_world import (
    ASKED,
    HOUR_MS,
    NOW,
    STRANGER,
    TRUSTED,
    Message,
    alarm,
    altered,
    beat,
    halt,
    instead,
    verdict,
)

from pipeline.halt.believe import TrustedKey
from pipeline.halt.signing import SigningKey
from pipeline.halts import listing, show
from pipeline.halts.chart import chart
from pipeline.halts.facts import Obeyed, Row, row_of, rows
from pipeline.halts.named import check
from pipeline.halts.page import MOST_LINES, Seen, lines
from pipeline.halts.reading import Known
from pipeline.halts.stored import Stored
from pipeline.halts.words import MOST_NAMED, obeyed_words, spread_words
from pipeline.runtime.errors import AndonError
from pipeline.status.snapshot import halt_rows
from pipeline.wire import topics
from pipeline.wire.acks import HaltAck, encode_ack
from pipeline.wire.halts import Evidence
from pipeline.wire.verdicts import Conditional, Explanation
from pipeline.wire.words import HALF_BLIND

KEY = ASKED.halt_key
SCCM, INTUNE = (SigningKey(Ed25519PrivateKey.generate()) for _ in range(2))
TRUST = TRUSTED | {
    SCCM.kid: TrustedKey(SCCM.public, "subscriber", "sccm"),
    INTUNE.kid: TrustedKey(INTUNE.public, "subscriber", "intune"),
}
FIGURES: dict[str, Any] = {
    "log10_evidence": 7.02,
    "observed": 5,
    "expected": 0.003,
    "relative_risk": (2068.0, 10_000.0),
    "crashed_hosts": 5,
    "explanation": Explanation("signature", "0x50", "csagent.sys"),
}
EVIDENCE = Evidence(
    threshold=6.0, basis="concurrent", exposed_trials=120, stream_time=NOW - 23_000, **FIGURES,
    conditional=(Conditional("microsoft/cumulative-update/kb5040442", 6.9), Conditional("intel/wifi/23", 1.0)),
)  # fmt: skip


def ack(status: Any, at: int, key: SigningKey = SCCM, name: str = "sccm", **other: Any) -> Message:
    """A subscriber's word."""
    word = key.sign_word(HaltAck(halt_key=KEY, epoch=1, subscriber=name, status=status, at=at, **other))
    return topics.HALT_ACKS.name, KEY.encode(), encode_ack(word)


def known(*messages: Message, asked: str = KEY) -> Known:
    """What a reader knows who has read these."""
    found = Known(TRUST, asked)
    puts = {
        topics.HALTS.name: found.put_halt,
        topics.VERDICTS.name: found.put_word,
        topics.HALT_ACKS.name: found.put_ack,
    }
    for topic, key, value in messages:
        puts[topic](key, value)
    found.settle()
    return found


def row(*messages: Message, now_ms: int = NOW + 60_000) -> Row:
    """Of the update."""
    return row_of(known(*messages), KEY, now_ms)


def page(*messages: Message, stored: Stored | None = None, now_ms: int = NOW + 60_000) -> list[str]:
    """The screen."""
    found = known(*messages)
    others = [v for v in found.record.verdicts.values() if v.version != ASKED.version]
    stored = stored or Stored(why_not="no ClickHouse is configured")
    problems = list(listing.problems(found, now_ms, "acme"))
    return lines(Seen(row_of(found, KEY, now_ms), found.history, others, stored, problems), now_ms, 80)


def text(found: list[str]) -> str:
    """Without the folds."""
    return " ".join(" ".join(found).split())


def story(**other: Any) -> list[Message]:
    """An update that is watched, halted, and spreads on in two rings, beside another."""
    watched = [verdict("watching", at=NOW - 600_000 + n * 30_000, log10_evidence=n / 10) for n in range(16)]
    later = FIGURES | {
        "at": NOW + 30_000,
        "log10_evidence": 60.2,
        "observed": 790,
        "expected": 0.4,
        "basis": "historical",
    }
    later |= {"spreading_hosts_per_minute": 12.0, "last_install": NOW + 20_000} | other
    return [
        *watched,
        verdict("halted", at=NOW - 20_000, **FIGURES),
        verdict("halted", **later | {"crashed_hosts": 782}),
        verdict("halted", ring="canary", **later | {"crashed_hosts": 30}),
        verdict("cleared", vendor="google", product="chrome", version="126"),
        beat(NOW + 55_000, (KEY, 1)),
        halt(evidence=EVIDENCE),
    ]


def test_silent_hosts_and_two_readers_are_told() -> None:
    """How many nobody hears any more, or that this is unknown; and how far each has read, where the two differ."""
    silent = {"silent_hosts": 300, "silent_in_line": 235, "silent_that_listed_it": 32, "silent_in_as_long_before": 2}
    stored = Stored(silent=silent, heard_until=NOW + 480_000)
    found = known(*story())
    seen = Seen(row_of(found, KEY, NOW), found.history, [], stored, [], NOW)
    said = text(lines(seen, NOW, 80))
    assert "Silent 267 hosts fell silent since its release and nobody knows what became of them: 32 had listed" in said
    assert "the detector (by now, rings) has read up to 2024-07-19 04:09:00Z, ClickHouse" in said
    assert "up to 2024-07-19 04:17:00Z: the detector is 8 min 0 s behind" in said
    said = text(lines(seen._replace(stored=Stored(why_not="no ClickHouse is configured", heard_until=NOW)), NOW, 80))
    assert "how many is unknown: no ClickHouse is configured" in said
    assert "As of" not in said


def test_a_persons_order_is_told_as_one() -> None:
    """Their reason is on the page of the halt and on the screen, the crash of the evidence that it carries on is
    not what decided, and a resume can be ended by one command."""
    why = "ann saw kiosks \x1b[2J break"
    forced = halt(5, evidence=EVIDENCE, decided_by="operator:ann", reason=why, issued_at=NOW + HOUR_MS)
    lifted = halt(4, "resume", evidence=EVIDENCE, reason=why, expires_at=NOW + 9 * HOUR_MS)
    for order, people in ((forced, "by a person"), (lifted, "by two operators")):
        told = [*story(flags=("after_resume",))[:-1], order]
        for said in (text(page(*told)), text(list(show.lines(row(*told), NOW + HOUR_MS, 80)))):
            assert "ann saw kiosks \\x1b[2J break" in said
            assert f"{people}; the evidence beside it is of before, to a crash at 2024-07-19 04:08:37Z" in said
            assert "replay" not in said
    said = text(page(*told))
    assert "RESUMED: " in said
    assert "# one operator ends the resume: andon halts force crowdstrike/falcon-content/291 --fleet acme" in said
    assert "see docs/design.md" not in said


def test_half_blind_telemetry_is_said_in_words() -> None:
    """What it costs; and however many reasons there are, what to do next stands there."""
    few = text(page(*story(flags=("strata_without_trials",))))
    assert (
        "strata_without_trials: its crashes come from strata (ring, os, model) that no boot or heartbeat names" in few
    )
    found = page(*story(flags=tuple(HALF_BLIND)))
    assert len(found) <= MOST_LINES
    assert "Next" in text(found)
    assert "andon halts resume" in text(found)


def test_nothing_is_cut_off_where_it_does_not_fit() -> None:
    """A doubtful halt, five things that are unknown, half-blind telemetry, long names and many who
    obey: more than a screen, and what to do next stands at its end; what is left out is said."""
    names = {"flags": (*HALF_BLIND, "doubtful"), "doubted_for": ("microsoft/cumulative-update/kb5040442",)}
    acks = [ack("failed", NOW + n, INTUNE, "intune", detail="no answer " * 10) for n in range(2)]
    found = known(*story(**names), *acks)
    problems = [f"problem {n}: " + "something is unknown " * 6 for n in range(5)]
    others = [v for v in found.record.verdicts.values() if v.version != ASKED.version]
    seen = Seen(row_of(found, KEY, NOW), found.history, others, Stored(why_not="it is away " * 12), problems)
    shown = lines(seen, NOW, 80)
    assert len(shown) > MOST_LINES
    assert max(map(len, shown)) <= 80
    said = text(shown)
    assert "something is unknown ! problem 2: something" in said
    assert "! 2 more: andon halts show acme/crowdstrike/falcon-content/291" in said
    assert "moments, left out for want of room: --json has them" in said
    assert said.endswith(
        "andon halts resume crowdstrike/falcon-content/291 --fleet acme \\ --for 4h --reason '…' --key FILE"
    )


def test_the_screen_says_all_and_fits() -> None:
    """Observed against expected, excess, risk, basis, rings, what else was considered, who obeyed, whether it spreads,
    the bound in words, what to do: at 80 columns, in MOST_LINES."""
    found = page(*story(), ack("requested", NOW + 200), ack("confirmed", NOW + 1_200))
    assert len(found) <= MOST_LINES
    assert max(map(len, found)) <= 80
    said = text(found)
    for words in (
        "HALTED: crowdstrike/falcon-content/291 of acme",
        "Decided on 5 hosts crashed with 0x50 / csagent.sys, fewer than 0.01 expected: 5 in excess; "
        "relative risk at least 2,068 (95 %); evidence 10^7.0 of 10^6 needed; basis concurrent",
        "By now 790 of 812 crashed hosts with 0x50 / csagent.sys, 0.4 expected: 790 in excess",
        "evidence 10^60.2 of 10^6 needed; basis historical, which assumes more",
        "by now: broad halted, 782 crashed; canary halted, 30 crashed",
        "signed 2024-07-19 04:09:00Z (wall time)",
        "decided by a crash at 2024-07-19 04:08:37Z (event time)",
        "0x50 / csagent.sys; counts unknown: no ClickHouse is configured",
        "Over time evidence, by fleet.verdicts, as far as kept (18 moments, event time)",
        "kb5040442: on hosts without it the evidence is 10^6.9, so it is not that one",
        "intel/wifi/23: on hosts without it the evidence is 10^1.0, too little to tell the two apart",
        "google/chrome/126 10^0.3",
        "intune has NOT answered; sccm confirmed after 1.2 s",
        "SPREADING: 12 hosts a minute still install it",
        "43 s after the crash that decided",
        "at most one harmless version in 1,000,000",
        "andon halts show acme/crowdstrike/falcon-content/291",
        "andon query exposure -p fleet=acme",
    ):
        assert words in said


def test_hostile_text_drives_no_screen() -> None:
    """Names, reasons and details of others: escaped, and within the width."""
    evil = "x\x1b[2J\u202e" * 20
    other = verdict("watching", vendor=evil[:100], at=NOW + 1, **FIGURES)
    found = page(*story(), halt(epoch=2, reason=evil, evidence=None), other, ack("failed", NOW + 9, detail=evil))
    found += list(show.lines(row(halt(reason=evil), ack("failed", NOW + 9, detail=evil)), NOW, 80))
    assert max(map(len, found)) <= 80
    assert all(line.isprintable() for line in found)


def test_what_is_said_by_clickhouse_is_shown_as_such() -> None:
    """Models and signatures with counts, and evidence from before what Kafka still has."""
    stored = Stored(
        models=[("latitude-7440", 80, 400)],
        signatures=[("0x50", "csagent.sys", 79)],
        evidence=[(NOW - HOUR_MS, 0.1), (NOW, 7.0)],
    )
    said = text(page(*story(), stored=stored))
    assert "latitude-7440 80 of 400" in said
    assert "0x50 / csagent.sys 79" in said
    assert "evidence, by ClickHouse (2 moments, event time)" in said


def test_an_acknowledgement_counts_when_its_subscriber_signed_it() -> None:
    """A stranger's, and another subscriber's, are not believed, and it is said; the first confirmation counts, though
    the order is handed over again, and a renewal of the halt changes nothing."""
    forged = [ack("confirmed", NOW + 5, STRANGER), ack("confirmed", NOW + 5, INTUNE)]
    found = known(
        halt(), halt(issued_at=NOW + 600_000), *forged, ack("confirmed", NOW + 2_500), ack("confirmed", NOW + 70_000)
    )
    obeyed = {each.subscriber: each for each in row_of(found, KEY, NOW).obeyed}
    assert (obeyed["sccm"].status, obeyed["sccm"].seconds_to_confirmed) == ("confirmed", 2.5)
    assert (obeyed["intune"].status, obeyed["intune"].seconds_to_confirmed) == ("unanswered", None)
    assert found.problems == ["acknowledgements that are not their subscriber's, not believed: 2"]


def test_each_step_of_obeying_has_its_time() -> None:
    """Asked but not confirmed is said so; confirmed and effective each have their seconds; a failure shouts."""
    assert "sccm REQUESTED after 0.2 s, NOT confirmed yet" in text(page(*story(), ack("requested", NOW + 200)))
    done = [ack("confirmed", NOW + 1_200), ack("effective", NOW + 60_000)]
    assert "sccm confirmed after 1.2 s, effective after 1 min 0 s" in text(page(*story(), *done))
    assert "sccm FAILED (no answer)" in text(page(*story(), ack("failed", NOW + 200, detail="no answer")))


def test_a_word_to_another_order_is_none_to_this_one() -> None:
    """An older epoch, or the resume of this one."""
    found = row(halt(epoch=2), ack("confirmed", NOW + 5), ack("confirmed", NOW + 5, action="resume"))
    assert {each.status for each in found.obeyed} == {"unanswered"}


def test_what_asks_for_a_person_stands_first() -> None:
    """Unknown, expired, standing, pending, resumed: one row each; the whole key's end is kept on a narrow screen."""
    messages = [
        halt(evidence=EVIDENCE),
        instead(halt(version="1"), None),
        halt(version="2", expires_at=NOW),
        verdict("pending", version="3"),
        halt(version="4", action="resume", epoch=2),
        halt(version="5", action="resume", epoch=2, expires_at=NOW + 1),
        altered(halt(version="6"), b"acme", b"acmf"),
        beat(NOW + 1),
    ]
    found = rows(known(*messages, asked=""), NOW + 60_000)
    assert [(each.key.rpartition("/")[2], each.state) for each in found] == [
        ("1", "unknown"), ("6", "unknown"), ("2", "expired"), ("291", "standing"), ("5", "standing"), ("3", "pending"),
        ("4", "resumed"),
    ]  # fmt: skip
    *table, legend, _ = listing.lines(found, 79)
    assert len(table) == 1 + len(found)
    assert max(map(len, table)) < 80
    assert all(each.key.rpartition("/")[2] in line for each, line in zip(found, table[1:], strict=True))
    assert table[4].split()[3:5] == ["5", "-"]
    assert legend.startswith("then, now: ")


def test_one_fact_is_one_number_on_every_screen() -> None:
    """Crashed hosts at the decision, and by now in all rings: in the list, on the page and on the screen."""
    found = row(*story())
    assert (found.crashed_hosts_at_decision, found.crashed_hosts_by_now) == (5, 812)
    assert list(listing.lines([found], 120))[1].split()[3:5] == ["5", "812"]
    shown = text(list(show.lines(found, NOW, 80)))
    for words in ("on 5 hosts crashed", "by now 790 of 812 crashed hosts", "canary: halted, by now 30 crashed hosts"):
        assert words in shown
    assert found.halt is not None
    (listed,) = halt_rows({KEY: found.halt}, NOW, verdicts=found.verdicts)
    assert (listed.crashed_hosts_by_now, listed.log10_evidence_by_now) == (812, 60.2)


def test_a_long_name_keeps_its_figures_beside_nothing_else() -> None:
    """Two fleets whose names begin alike are told apart at 80 columns."""
    found = [row(*story()), msgspec.structs.replace(row(*story()), key="acme-" + "x" * 30 + KEY)]
    lines = list(listing.lines(found, 79))
    assert any(line == found[1].key for line in lines)
    assert max(map(len, lines)) < 80


def test_after_a_replay_both_clocks_are_named() -> None:
    """The crash that decided lies hours before the signature: a replay, or late reports, and it is said."""
    old = msgspec.structs.replace(EVIDENCE, stream_time=NOW - 3 * HOUR_MS)
    said = text(page(*story()[:-1], halt(evidence=old)))
    assert "(event time), 3 h 0 min before it was signed: a replay, late reports, or it was renewed since" in said
    assert "late reports" not in text(page(*story()))


def test_a_halt_that_nobody_confirmed_says_what_to_do() -> None:
    """Also where no subscriber is known at all."""
    by_hand = "# stop the rollout by hand where it is not confirmed"
    alone = Seen(msgspec.structs.replace(row(*story(spreading_hosts_per_minute=0.0)), obeyed=[]), [], [], Stored(), [])
    assert by_hand in text(lines(alone, NOW, 80))
    done = [ack("confirmed", NOW + 5), ack("confirmed", NOW + 5, INTUNE, "intune")]
    assert by_hand not in text(page(*story(spreading_hosts_per_minute=0.0), *done))


def test_of_many_subscribers_those_that_have_not_confirmed_are_named() -> None:
    """A thousand fill no page and no alert: how many have, who has not, and where all stand."""
    some = [Obeyed(subscriber=f"s-{n}", status="confirmed", seconds_to_confirmed=1.0) for n in range(999)]
    said = obeyed_words([*some, Obeyed(subscriber="late", status="unanswered")])
    assert said.startswith("999 of 1000 have confirmed; late ")
    assert said.endswith("988 more: andon halts show")
    assert said.count("confirmed after") == MOST_NAMED - 1
    assert "have confirmed" not in obeyed_words(some[:MOST_NAMED])


def test_silence_is_said() -> None:
    """Without a heartbeat nobody knows that nothing else stands; and an old one says no more."""
    assert any("is unknown" in words for words in listing.problems(known(halt()), NOW))
    assert any("detector is silent" in words for words in listing.problems(known(beat(NOW)), NOW + 60_000))
    assert not list(listing.problems(known(beat(NOW)), NOW))
    old = known(beat(NOW, stream_time=NOW - HOUR_MS))
    assert any("no report of the last 60 min" in words for words in listing.problems(old, NOW))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "whether it still spreads is unknown"),
        ({"spreading_hosts_per_minute": 0.0}, "too early to call it flat"),
        ({"spreading_hosts_per_minute": 3.5}, "SPREADING: 3.5 hosts a minute"),
        (
            {"spreading_hosts_per_minute": 0.0, "flat_since": NOW, "last_install": NOW},
            "flat, as far as reported: last installation 2024-07-19 04:09:00Z (event time)",
        ),
    ],
)
def test_whether_it_spreads_is_never_guessed(given: dict[str, Any], words: str) -> None:
    """Unknown is unknown, none yet is not flat; and the last installation is told from the crash that decided."""
    found = row(halt(evidence=EVIDENCE), verdict("halted", **given))
    assert words in spread_words(found)
    assert found.seconds_decision_to_last_install == (23.0 if given.get("last_install") else None)


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    """Of the fleet, or of its updates."""
    found = known(*story())
    check(found, KEY)
    with pytest.raises(AndonError, match="did you mean acme/crowdstrike/falcon-content/291"):
        check(found, "acme/crowdstrike/falcon-content/29")
    with pytest.raises(AndonError, match="fleet 'acmee' is unknown: Kafka has acme; did you mean acme"):
        check(found, "acmee/crowdstrike/falcon-content/291")


def test_a_chart_marks_the_threshold_and_cuts_what_lies_far_beyond() -> None:
    """Every line within the width, the threshold's row marked, blocks where there is evidence."""
    found = chart([(NOW + n * 60_000, float(n * n)) for n in range(30)], 6.0, 60, 5)
    assert len(found) == 6
    assert max(map(len, found)) <= 60
    assert "≥10^12" in found[0]
    assert [line for line in found if "10^6" in line and "┄" in line]
    assert found[0].endswith("█")
    assert chart([(NOW, -0.5)], 6.0, 60, 5)[-1].split()[0] == "04:09:00Z"


def test_doubt_and_an_alarm_are_on_every_page() -> None:
    """What later evidence speaks for instead, and what the fleet's alarm says; neither where there is none."""
    doubt = {"flags": ("doubtful",), "doubted_for": ("microsoft/cumulative-update/kb5040442",)}
    alarmed = [*story(**doubt), alarm(), beat(NOW + 56_000, (KEY, 1), flags=("unattributed_alarm",))]
    found = known(*alarmed)
    (one,) = rows(found, NOW)
    assert one.doubted_for == ["microsoft/cumulative-update/kb5040442"]
    listed = " ".join([*listing.doubts([one], 200), *listing.problems(found, NOW + 60_000)])
    shown = text(list(show.lines(row(*alarmed), NOW + 60_000, 80)))
    for said in (listed, shown, text(page(*alarmed))):
        assert "later evidence speaks for microsoft/cumulative-update/kb5040442 instead" in said
    for said in (listed, text(page(*alarmed))):
        assert "acme: UNATTRIBUTED ALARM: 152 hosts" in said
    calm = text([*page(*story()), *listing.doubts(rows(known(*story()), NOW), 200)])
    assert "ALARM" not in calm
    assert "DOUBTFUL" not in calm
    forged = known(*story(), alarm(key=None))
    assert "acme: its newest alarm is not believed (bad_signature)" in " ".join(listing.problems(forged, NOW))
