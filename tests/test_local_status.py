"""`andon status`: rates and lag from offsets, halts and verdicts as they stand, hostile text made harmless."""

import io

import msgspec
import pytest
from rich.console import Console

from pipeline.local.snapshot import Snapshot, group_rows, halt_rows, produced_per_second, stage_rows, top_verdicts
from pipeline.local.sources import Offsets, Usage
from pipeline.local.stack import StackInfo, StageInfo
from pipeline.local.view import explain, moment, render, span
from pipeline.wire.halts import Halt
from pipeline.wire.verdicts import Explanation, FleetHeartbeat, Verdict

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


def drawn(seen: Snapshot) -> str:
    """The screen as a terminal gets it."""
    output = io.StringIO()
    Console(file=output, width=400, force_terminal=True, color_system=None).print(render(seen))
    return output.getvalue()


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
    shown, total = top_verdicts(records, 2)
    assert ([v.vendor for v in shown], total) == (["v19", "v18"], 20)


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


@pytest.mark.parametrize("width", [80, 100, 200])
def test_what_one_decides_by_is_on_every_screen(width: int) -> None:
    """State, rings, evidence and hosts are there however narrow the terminal, whatever a restarted stage said last."""
    kept = halt("crowdstrike-of-a-long-name", NOW - 60_000, NOW + 9_000_000)
    why = "5 hosts crashed, fewer than 0.01 expected; relative risk at least 2339; evidence 10^6.7 of 10^6 needed."
    kept = msgspec.structs.replace(kept, rings=("canary",), reason=why)
    shot = snapshot("2024-07-19T04:11:54Z [warning ] " + "consumer error " * 20)
    ring = msgspec.structs.replace(verdict("falcon-content-updates", 38.2), ring="broad")
    shot = msgspec.structs.replace(shot, halts=halt_rows({b"k": kept}, NOW), verdicts=[ring])
    sink = io.StringIO()
    Console(file=sink, width=width).print(render(shot))
    shown = sink.getvalue()
    for word in ("in force", "canary", "halted", "broad", "10^38.2", "37", "failing", "restarts", "evidence"):
        assert word in shown, word
