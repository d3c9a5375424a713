"""`andon status`: rates and lag from offsets, halts and verdicts as they stand, hostile text made harmless."""

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from pipeline.halt.signing import SigningKey, load_or_create
from pipeline.halt.trust import TrustConfig
from pipeline.local.machine.usage import Usage
from pipeline.local.stack import StackInfo, StageInfo
from pipeline.status.record import Shown
from pipeline.status.snapshot import (
    Snapshot,
    group_rows,
    halt_rows,
    produced_per_second,
    stage_rows,
    top_verdicts,
    unknown_rows,
)
from pipeline.status.sources import Offsets
from pipeline.status.times import moment, span
from pipeline.status.updates import explain
from pipeline.status.view import Screen
from pipeline.wire.halts import Evidence, Halt, encode_halt
from pipeline.wire.verdicts import (
    CLOCKS_AHEAD,
    STREAM_TIME_AHEAD,
    Explanation,
    FleetAlarm,
    FleetHeartbeat,
    StandingHalt,
    Verdict,
    encode_verdict,
)
from pipeline.wire.words import HALF_BLIND

NOW = 1_721_362_140_000  # 2024-07-19T04:09:00Z
HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]‮<script>\n'; DROP TABLE andon.events; --\x00"


def verdict(name: str, evidence: float) -> Verdict:
    """A verdict on an update of that name."""
    return Verdict(
        fleet="acme",
        vendor=name,
        product="falcon",
        version="291",
        ring=name,
        state="halted",
        at=NOW,
        log10_evidence=evidence,
        threshold=6.0,
        basis="concurrent",
        observed=37,
        expected=0.8,
        relative_risk=(12.1, 90.4),
        crashed_hosts=37,
        exposed_trials=9_120,
        explanation=Explanation("signature", "0x50", name, ("canary",)),
        flags=(name,),
    )


def halt(name: str, issued_at: int, expires_at: int, action: str = "halt") -> Halt:
    """A halt of an update of that name."""
    return Halt(
        action=action,  # type: ignore[arg-type]
        fleet="acme",
        vendor=name,
        product="falcon",
        version="291",
        rings=(name,),
        epoch=1,
        issued_at=issued_at,
        expires_at=expires_at,
        decided_by="andon",
        policy="p",
        reason=name,
        evidence=None,
        kid="k",
    )


def snapshot(name: str) -> Snapshot:
    """Everything named so."""
    beat = FleetHeartbeat(fleet=name, at=NOW - 60_000, stream_time=NOW, live_updates=3, events=10, offset=1)
    return Snapshot(
        at=NOW,
        bootstrap_servers=name,
        data_dir="",
        stages=stage_rows(
            StackInfo(
                supervisor_pid=1,
                started_at=NOW,
                data_dir="",
                fleet=name,
                bootstrap_servers=name,
                stages={"combine": StageInfo(state="failing", restarts=4, last_line=name)},
            ),
            {},
            {},
            1.0,
            NOW,
        ),
        topics_per_second={"fleet.events": 12_345.6},
        groups=[],
        fleets=[beat],
        halts=halt_rows({b"a": halt(name, NOW - 90_000, NOW + 3_600_000), b"b": halt(name, 0, NOW - 1)}, NOW),
        verdicts=[verdict(name, 7.2)],
        verdicts_total=1,
        problems=[name],
    )


def test_a_heartbeat_shows_its_flags() -> None:
    """That stream time has run ahead stands beside the heartbeat that would look healthy otherwise."""
    seen = snapshot("acme")
    assert "stream_time_ahead" not in drawn(seen)
    flagged = msgspec.structs.replace(seen.fleets[0], flags=(STREAM_TIME_AHEAD,))
    assert "stream_time_ahead" in drawn(msgspec.structs.replace(seen, fleets=[flagged]))


def test_clocks_ahead_are_a_problem_in_words() -> None:
    """Many hosts whose clocks keep them out of the evidence: what looks green is not, and who they are is one query."""
    shown = Shown({})
    shown.record.beats["acme"] = msgspec.structs.replace(beat(NOW), flags=(CLOCKS_AHEAD,))
    (said,) = shown.problems(NOW)
    assert said.startswith("acme: clocks of many hosts are ahead")
    assert "andon query unused" in said


def test_half_blind_telemetry_is_a_problem_in_words() -> None:
    """Which reason, of how many updates, and what it costs: a line each, the most frequent first."""
    shown = Shown({})
    flagged = {"a": ("version_per_host", "capped"), "b": ("version_per_host", "strata_move"), "c": ("sampled",)}
    shown.record.verdicts |= {
        name: msgspec.structs.replace(verdict(name, 1.0), flags=flags) for name, flags in flagged.items()
    }
    first, second = shown.problems(NOW)
    assert first == f"acme: version_per_host of 2 updates: {HALF_BLIND['version_per_host']}"
    assert second.startswith("acme: strata_move of 1 update: os names a build")


def drawn(seen: Snapshot, width: int = 400, height: int | None = None) -> str:
    """The screen as a terminal of that width gets it; with a height, as it fits there."""
    output = io.StringIO()
    terminal = Console(file=output, width=width, height=height, force_terminal=True, color_system=None)
    terminal.print(Screen(seen, None if height is None else 0))
    return output.getvalue()


def night() -> Snapshot:
    """A line that halted an update, and whose combiner was killed: names, words and figures as long as they are."""
    rings = ("canary", "broad")
    reason = (
        "14 hosts crashed with 0x50 / csagent.sys, fewer than 0.01 expected; relative risk at least 2339; "
        "evidence 10^3380.5 of 10^6 needed"
    )
    evidence = Evidence(
        log10_evidence=3380.5,
        threshold=6.0,
        basis="concurrent",
        observed=14,
        expected=0.01,
        relative_risk=(2339.0, 66590.0),
        crashed_hosts=21_417,
        exposed_trials=40,
        explanation=Explanation("signature", "0x50", "csagent.sys"),
        stream_time=NOW,
    )
    update = {"vendor": "crowdstrike", "product": "falcon-content", "version": "291"}
    stopped = halt("x", NOW - 3_500_000, NOW + 86_000_000)
    stopped = msgspec.structs.replace(stopped, rings=rings, reason=reason, evidence=evidence, **update)
    judged = msgspec.structs.replace(verdict("x", 3380.5), ring="canary", crashed_hosts=21_417, **update)
    judged = msgspec.structs.replace(judged, expected=1_204.5, flags=("capped", "inseparable"), needs_trials=12_345)
    said = "2024-07-19T04:09:00.123456Z [info     ] recovered  " + "partitions=[0, 1, 2, 3] stage=combine " * 4
    stage = {"started_at": NOW - 3_500_000, "pid": 1_234_567}
    line = StackInfo(
        supervisor_pid=1,
        started_at=NOW,
        data_dir="",
        fleet="acme",
        bootstrap_servers="",
        stages={
            "correlate": StageInfo(state="up", **stage),  # type: ignore[arg-type]
            "combine": StageInfo(state="restarting", restarts=1, last_line=said, **stage),
        },
    )
    used = {1_234_567: Usage(9.0, 1_534_000_000)}
    return msgspec.structs.replace(
        snapshot("127.0.0.1:43211"),
        stages=stage_rows(line, used, used, 1.0, NOW),
        halts=halt_rows({b"a": stopped}, NOW, verdicts=[judged]),
        verdicts=[judged],
        problems=[],
    )


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_what_matters_is_on_screen_at_every_width(width: int) -> None:
    """Neither states nor rings nor figures are cut by long explanations, nor by a stage that was started anew."""
    screen = drawn(night(), width)
    stages, verdicts = (screen[screen.index(title) :] for title in ("Stages", "Verdicts"))
    for text in ("in force", "canary", "broad", "10^3380.5", "21,417", "1 halt in force", "0x50"):
        assert text in " ".join(screen[: -len(stages)].split())
    assert ("1234567" in stages) == (width >= 100)
    for text in ("combine", "restarting", "58 min 20 s", "1,534", "combine says: recovered  partitions"):
        assert text in stages[: -len(verdicts)]
    for text in ("canary", "halted", "10^3380.5", "21,417", "1,204.5", "signature, 0x50"):
        assert text in verdicts
    assert "2024-07-19T04" not in stages
    assert max(map(len, screen.splitlines())) <= width


RINGS = ("broad", "canary", "early")


def crowd(updates: int, **figures: object) -> list[Verdict]:
    """So many updates, each watched in every ring."""
    calm = {"state": "watching", "log10_evidence": -0.8, "crashed_hosts": 2, "flags": (), "expected": 1.5}
    calm["explanation"] = Explanation("pooled")
    found = [verdict(f"vendor-{number:02}", 0.0) for number in range(updates)]
    return [msgspec.structs.replace(v, ring=ring, **calm | figures) for v in found for ring in RINGS]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 30)])
def test_the_night_fits_a_low_screen(width: int, height: int) -> None:
    """With 40 updates and 30 halts: what is halted, the guilty update, the silent detector and the failing stage are
    all on it, and that there is more."""
    quiet = night()
    stages = [msgspec.structs.replace(quiet.stages[0], name=f"stage-{number}") for number in range(8)]
    halts = halt_rows({f"{n}".encode(): halt(f"vendor-{n}", NOW - 90_000, NOW + 9_000_000) for n in range(30)}, NOW)
    seen = msgspec.structs.replace(
        quiet, stages=stages + quiet.stages, halts=quiet.halts + halts, verdicts=quiet.verdicts + crowd(40)
    )
    screen = drawn(seen, width, height)
    assert len(screen.rstrip("\n").splitlines()) <= height
    assert max(map(len, screen.splitlines())) <= width
    for text in ("31 halts in force", "csagent.sys", "10^3380.5", "SILENT", "combine restarting", "9 of 10 up"):
        assert text in " ".join(screen.split())
    assert "more than fits" in screen


def test_an_update_is_one_row_with_its_rings_inside() -> None:
    """Crashed hosts of all rings together; rings whose state differs are named with it, the gravest first."""
    rows = crowd(2)
    rows[0] = msgspec.structs.replace(rows[0], state="cleared")
    rows[2] = msgspec.structs.replace(rows[2], needs_trials=12_345)
    screen = drawn(msgspec.structs.replace(snapshot("acme"), verdicts=rows, updates_total=2))
    below = screen[screen.index("Verdicts") :]
    assert "(2 of 2 updates" in below
    (one,) = (line for line in below.splitlines() if "vendor-00" in line)
    assert one.split()[1:4] == ["watching", "10^-0.8", "6"]
    assert "watching in canary, early (needs 12,345 more trials to be cleared); cleared in broad" in one


def test_figures_that_say_less_are_greyed_with_a_word() -> None:
    """Masked by a halted update, or without a past to compare with; and only those."""
    rows = crowd(1) + [msgspec.structs.replace(v, vendor="grey", flags=("masked", "no_history")) for v in crowd(1)]
    output = io.StringIO()
    seen = msgspec.structs.replace(snapshot("acme"), verdicts=rows, updates_total=2)
    Console(file=output, width=200, force_terminal=True, color_system="standard").print(Screen(seen))
    (grey,) = (line for line in output.getvalue().splitlines() if "grey/falcon" in line)
    (plain,) = (line for line in output.getvalue().splitlines() if "vendor-00/falcon" in line)
    assert "watching, masked, no history" in grey
    assert "\x1b[2m" in grey
    assert "\x1b[2m" not in plain


def test_the_basis_of_evidence_is_shown_and_empty_explanations_are_not() -> None:
    """That the historical basis assumes more stands with it; where there is no evidence, nothing explains it."""
    guilty = verdict("x", 7.0)
    seen = msgspec.structs.replace(snapshot("acme"), verdicts=[guilty, msgspec.structs.replace(guilty, vendor="y")])
    seen.verdicts[1] = msgspec.structs.replace(seen.verdicts[1], basis="historical")
    assert "canary; basis concurrent" in drawn(seen)
    assert "canary; basis historical (assumes more)" in drawn(seen)
    for nothing in (Explanation("ring", strata=("ring=",)), Explanation("stratum"), Explanation("pooled")):
        empty = drawn(msgspec.structs.replace(seen, verdicts=crowd(1, explanation=nothing)))
        assert not [word for word in ("ring=", "pooled", "stratum", "basis") if word in empty]


def test_halts_show_what_holds_by_now_and_what_they_were_decided_on() -> None:
    """The same crashed hosts and evidence as the verdicts below; the sentence is of the decision, and says so; what no
    verdict is about has no figures."""
    seen = night()
    rows = [*seen.verdicts, msgspec.structs.replace(seen.verdicts[0], ring="broad", crashed_hosts=583)]
    (row,) = halt_rows({b"a": seen.halts[0].halt}, NOW, verdicts=rows)
    assert (row.crashed_hosts_by_now, row.log10_evidence_by_now) == (22_000, 3380.5)
    screen = drawn(msgspec.structs.replace(seen, halts=[row], verdicts=rows))
    above, below = screen.split("Stages")[0], screen[screen.index("Verdicts") :]
    assert "decided on: 14 hosts crashed" in above
    assert "22,000" in above
    assert "22,000" in below
    (bare,) = halt_rows({b"a": seen.halts[0].halt}, NOW)
    assert (bare.crashed_hosts_by_now, bare.log10_evidence_by_now) == (None, None)


def test_how_long_a_stage_has_not_been_ready_is_told_from_then() -> None:
    """Not from when its process was started."""
    unready = StageInfo(state="unready", pid=7, started_at=NOW - 7_200_000, since=NOW - 40_000, restarts=1)
    line = StackInfo(
        supervisor_pid=1, started_at=NOW, data_dir="", fleet="acme", bootstrap_servers="", stages={"combine": unready}
    )
    seen = msgspec.structs.replace(night(), stages=stage_rows(line, {}, {}, 1.0, NOW))
    assert "combine unready for 40 s, restarted 1 time\n" in drawn(seen, 80, 20).replace("  \n", "\n")


def test_rates_and_lag_come_from_offsets() -> None:
    """1,000 messages in two seconds are 500 a second; what retention has removed is not lag."""
    before = Offsets(10.0, {}, {("fleet.events", 0): 100, ("fleet.events", 1): 100}, {"g": {("fleet.events", 0): 50}})
    after = Offsets(
        12.0,
        {("fleet.events", 0): 0, ("fleet.events", 1): 500},
        {("fleet.events", 0): 200, ("fleet.events", 1): 1_000},
        {"g": {("fleet.events", 0): 150}},
    )
    assert produced_per_second(before, after) == {"fleet.events": 500.0}
    (row,) = group_rows(before, after)
    assert (row.group, row.topic, row.messages_per_second, row.lag_messages) == ("g", "fleet.events", 50.0, 50 + 500)


def test_first_look_has_no_rates() -> None:
    """With one look only there is no interval, so rates are zero rather than nonsense."""
    one = Offsets(10.0, {}, {("fleet.events", 0): 100}, {"g": {("fleet.events", 0): 50}})
    assert produced_per_second(one, one) == {"fleet.events": 0.0}
    assert group_rows(one, one)[0].messages_per_second == 0.0


def test_cpu_is_over_the_interval() -> None:
    """Half a second of CPU in one second is 50 %; a process seen for the first time has no figure yet."""
    info = StackInfo(
        supervisor_pid=1,
        started_at=NOW,
        data_dir="",
        fleet="acme",
        bootstrap_servers="",
        stages={"old": StageInfo(state="up", pid=7, started_at=NOW - 5_000), "new": StageInfo(state="up", pid=8)},
    )
    rows = stage_rows(info, {7: Usage(1.0, 0)}, {7: Usage(1.5, 10), 8: Usage(9.0, 20)}, 1.0, NOW)
    assert [(row.cpu_percent, row.rss_bytes) for row in rows] == [(50.0, 10), (None, 20)]
    assert rows[0].uptime_seconds == 5.0


def test_an_expired_halt_is_no_permission() -> None:
    """An expired halt is shown as the detector's silence; only a resume removes it."""
    halts = {
        b"a": halt("a", NOW - 90_000, NOW + 3_600_000),
        b"b": halt("b", NOW - 95_000, NOW - 1),
        b"c": halt("c", NOW, NOW + 1, "resume"),
    }
    assert [(row.halt.vendor, row.in_force) for row in halt_rows(halts, NOW)] == [("a", True), ("b", False)]
    assert "EXPIRED: detector silent" in drawn(snapshot("x"))


def test_most_evidence_comes_first() -> None:
    """The table shows the strongest verdicts and says how many there are."""
    records: dict[bytes, Verdict | FleetHeartbeat] = {str(n).encode(): verdict(f"v{n}", n) for n in range(20)}
    shown, total, updates = top_verdicts(records, 2)
    assert ([v.vendor for v in shown], total, updates) == (["v19", "v18"], 20, 20)


def test_hostile_text_cannot_drive_the_terminal() -> None:
    """Control characters, bidi overrides and markup from endpoints appear as text, in every column."""
    screen = drawn(snapshot(HOSTILE))
    assert not [c for c in screen if not c.isprintable() and c != "\n"]
    assert "[bold red]" in screen
    assert "\\x1b[2J" in screen


def test_a_silent_detector_is_shown_as_silent() -> None:
    """Three missed heartbeats read as SILENT, never as calm."""
    assert "SILENT 1 min 0 s" in drawn(snapshot("acme"))


def test_times_and_explanations_read_well() -> None:
    """Durations in two units, instants in UTC, explanations in a few words; absurd times do not raise."""
    assert [span(s) for s in (5, 65, 3_700, 90_000)] == ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]
    assert moment(NOW) == "2024-07-19 04:09:00Z"
    assert moment(2**62) == f"{2**62} ms"
    assert (
        explain(Explanation("signature", "0x50", "csagent.sys", ("canary",))) == "signature, 0x50 / csagent.sys, canary"
    )


# -- what the topics say is believed only when it is signed

LATER = NOW + 3_600_000


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """The line's signing key."""
    return load_or_create(tmp_path / "keys")


@pytest.fixture
def shown(key: SigningKey, tmp_path: Path) -> Shown:
    """Somebody who trusts it."""
    return Shown(TrustConfig(keys_dir=str(tmp_path / "keys")).keys())


def put(shown: Shown, *records: tuple[str, bytes | None]) -> None:
    """On `fleet.halts`."""
    for name, value in records:
        shown.record.take_halt(name.encode(), value)


def screen_of(shown: Shown) -> str:
    """What a person sees of it."""
    record = shown.record
    doubts = {doubt.key: doubt.words for doubt in record.doubts()}
    verdicts, total, _ = top_verdicts(shown.verdicts(NOW), 9)
    seen = msgspec.structs.replace(
        snapshot("x"),
        halts=halt_rows(record.halts, NOW, doubts),
        unknown=unknown_rows(record),
        verifies=shown.verifies,
        fleets=shown.beats(),
        verdicts=verdicts,
        verdicts_total=total,
        problems=list(shown.problems(NOW)),
    )
    return drawn(seen)


def beat(at: int, *standing: StandingHalt) -> FleetHeartbeat:
    """A heartbeat of acme, not signed."""
    figures = {"stream_time": at, "live_updates": 1, "events": 9, "offset": 3, "standing_total": len(standing)}
    return FleetHeartbeat(fleet="acme", at=at, standing=standing, **figures)


@pytest.mark.parametrize("disturbed", [None, b"", b'{"junk":1}', b"resumed", b"wrong form"])
def test_a_halt_once_seen_outlives_its_record(shown: Shown, key: SigningKey, disturbed: bytes | None) -> None:
    """A tombstone, junk, a resume that nobody signed: the halt stays in force, and the screen says what happened."""
    raw = encode_halt(key.sign(halt("v", NOW, LATER)))
    changed = {b"resumed": raw.replace(b'"action":"halt"', b'"action":"resume"'), b"wrong form": raw + b" "}
    put(shown, ("acme/v/falcon/291", raw), ("acme/v/falcon/291", changed.get(disturbed or b"", disturbed)))
    screen = screen_of(shown)
    assert "1 halt in force" in screen
    assert "RECORD DISTURBED" in screen


@pytest.mark.parametrize("left", [None, b'{"junk":1}'])
def test_what_is_left_of_an_erased_halt_is_unknown(shown: Shown, left: bytes | None) -> None:
    """After compaction nobody knows what stood there: unknown, not none."""
    put(shown, ("acme/v/falcon/291", left))
    screen = screen_of(shown)
    assert "0 halts in force, 1 unknown" in screen
    assert "UNKNOWN" in screen


def test_strangers_are_not_believed(shown: Shown, tmp_path: Path) -> None:
    """A halt and a resume of a key that is not trusted are shown as what they are; so is everything without keys."""
    stranger = load_or_create(tmp_path / "stranger")
    forged = encode_halt(stranger.sign(halt("v", NOW, LATER)))
    put(shown, ("acme/v/falcon/291", forged), ("acme/w/falcon/291", encode_halt(stranger.sign(halt("w", NOW, LATER)))))
    assert "0 halts in force, 2 unknown" in screen_of(shown)
    nobody = Shown(None)
    put(nobody, ("acme/v/falcon/291", forged))
    assert "0 halts in force, 1 unknown" in screen_of(nobody)
    assert "--trusted-keys-dir" in screen_of(nobody)


def test_a_halt_that_the_heartbeat_names_is_missed(shown: Shown, key: SigningKey) -> None:
    """The topic was made anew, or an older record was put in the newest one's place: the signed digest says so."""
    named = StandingHalt("acme/v/falcon/291", 2)
    shown.record.take_word(b"acme/-/heartbeat", encode_verdict(key.sign_word(beat(NOW, named))))
    assert "0 halts in force, 1 unknown" in screen_of(shown)
    old = key.sign(halt("v", NOW, LATER, "resume"))
    put(shown, ("acme/v/falcon/291", encode_halt(old)))
    assert "0 halts in force, 1 unknown" in screen_of(shown)
    put(shown, ("acme/v/falcon/291", encode_halt(key.sign(msgspec.structs.replace(old, action="halt", epoch=2)))))
    assert "1 halt in force" in screen_of(shown)
    assert "unknown" not in screen_of(shown)


def test_heartbeats_and_cleared_verdicts_are_signed_and_fresh(shown: Shown, key: SigningKey) -> None:
    """One that nobody signed is not heard, one from before does not replace the newest; `cleared` needs both."""
    heartbeat = b"acme/-/heartbeat"
    cleared = msgspec.structs.replace(verdict("v", -3.0), state="cleared")
    assert shown.record.take_word(heartbeat, encode_verdict(beat(NOW))) == "bad_signature"
    assert shown.record.take_word(cleared.key.encode(), encode_verdict(cleared)) == "bad_signature"
    assert shown.record.take_word(cleared.key.encode(), encode_verdict(key.sign_word(cleared))) == ""
    assert shown.verdicts(NOW) == {}
    for at, reason in ((NOW - 30_000, ""), (NOW - 40_000, "replayed")):
        assert shown.record.take_word(heartbeat, encode_verdict(key.sign_word(beat(at)))) == reason
    assert list(shown.verdicts(NOW)) == [cleared.key]
    assert shown.verdicts(NOW + 1) == {}


def test_an_alarm_and_a_halt_in_doubt_are_said(shown: Shown, key: SigningKey) -> None:
    """While the heartbeat names the alarm; a vendor "-" with a product "alarm" is none."""
    alarm = FleetAlarm(
        fleet="acme", state="sounding", at=NOW, since=NOW, crashed_hosts=152, usual=12.0, tolerated_rise=3.0,
        log10_evidence=9.0, threshold=6.2,
    )  # fmt: skip
    odd = msgspec.structs.replace(verdict("v", 9.0), vendor="-", product="alarm", doubted_for=("v/p/2",))
    named = msgspec.structs.replace(beat(NOW), flags=("unattributed_alarm",))
    for word in (odd, alarm, named):
        assert shown.record.take_word(word.key.encode(), encode_verdict(key.sign_word(word))) == ""
    assert [each.crashed_hosts for each in shown.alarms()] == [152]
    said = screen_of(shown)
    assert "UNATTRIBUTED ALARM: 152 hosts crashed since" in said
    assert "later evidence speaks for v/p/2 instead" in said
    later = beat(NOW + 10_000)
    assert shown.record.take_word(later.key.encode(), encode_verdict(key.sign_word(later))) == ""
    assert "ALARM" not in screen_of(shown)
    assert shown.alarms() == []


def test_a_version_that_looks_like_a_heartbeat_is_a_verdict(shown: Shown, key: SigningKey) -> None:
    """Version "-" in a ring "heartbeat": five parts are a verdict, wherever records are read."""
    odd = msgspec.structs.replace(verdict("v", 9.0), version="-", ring="heartbeat")
    assert odd.key.endswith("/-/heartbeat")
    assert shown.record.take_word(odd.key.encode(), encode_verdict(key.sign_word(odd))) == ""
    assert list(shown.verdicts(NOW)) == [odd.key]
    assert shown.beats() == []
