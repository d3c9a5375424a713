"""Telemetry that hides what is to be judged is noticed: what it costs is a flag, a count and words; and what it does
not have to cost, it does not."""

import pytest
from support.blind.night import (
    HOSTS,
    T0,
    VERSION,
    Event,
    Judged,
    crashes,
    event,
    installed_at,
    night,
    number_of,
    update,
)

from pipeline.backtest.noted import InputNotes
from pipeline.runtime.console import stdout_console
from pipeline.wire.spans import MINUTE_MS
from pipeline.wire.words import HALF_BLIND


def test_a_night_that_shows_everything_has_no_such_flag() -> None:
    """The control: the guilty update halts after a few hosts, nothing is half-blind."""
    judged = Judged(night())
    assert [(halt.version, halt.evidence.crashed_hosts < 10) for halt in judged.halts] == [(VERSION, True)]
    assert (judged.reasons, judged.flags & HALF_BLIND.keys()) == ({}, set())


def test_crashes_where_no_heartbeat_comes_from_halt_all_the_same() -> None:
    """Crash reports of a recovery system: its pools' share is taken, and the halt says so."""
    judged = Judged(night(on_crashes=lambda crash: crash | {"os": "recovery"}))
    assert [halt.version for halt in judged.halts] == [VERSION]
    assert judged.halts[0].evidence.crashed_hosts < 12
    assert judged.reasons == {"strata_without_trials": 1}
    assert "strata_without_trials" in judged.flags


def with_build(each: Event) -> Event:
    return each | {"os": "windows-10.0.22631." + ("3958" if each["updates"] else "3880")}


def test_strata_that_move_with_the_build_are_noticed() -> None:
    """The build is part of os and comes with the update: nobody without it is in the hosts' stratum."""
    assert "strata_move" in Judged(night(with_build)).reasons


def test_systems_that_were_there_before_do_not_move() -> None:
    """An update for one system only leaves nobody to compare with either, but its strata are old: no flag."""
    system = {True: "windows-11", False: "windows-10"}
    judged = Judged(night(lambda each: each | {"os": system[number_of(each) % 4 == 0]}))
    assert judged.reasons == {}


def test_a_version_of_its_own_for_each_host_is_noticed() -> None:
    """`2+h0063`: sixty versions on one host each, none judged."""

    def named(each: Event) -> Event:
        return each | {"updates": [entry | {"version": f"2+{each['host']}"} for entry in each["updates"]]}

    judged = Judged(night(named))
    assert judged.halts == []
    assert judged.reasons["version_per_host"] > 40


def two_kbs(each: Event, own: bool) -> Event:
    """The update as two KBs a second apart, the harmless one last; under one product, or each under its own."""
    kbs = [(0, "kb1"), (1_000, "kb2")]
    return each | {
        "updates": [
            {"vendor": "ms", "product": kb if own else "windows", "version": kb, "installed_at": at + later}
            for at in [entry["installed_at"] for entry in each["updates"]]
            for later, kb in kbs
        ]
    }


def test_updates_that_share_a_product_are_noticed() -> None:
    """Only the last of them counts, so it takes the blame: its halt says that it may be a neighbour's."""
    judged = Judged(night(lambda each: two_kbs(each, own=False)))
    assert [halt.version for halt in judged.halts] == ["kb2"]
    assert "one_product_for_many" in judged.flags
    assert judged.reasons == {"one_product_for_many": 2}
    assert "one_product_for_many" not in Judged(night(lambda each: two_kbs(each, own=True))).reasons


def test_the_version_before_is_no_neighbour() -> None:
    """A version that was there for days and is superseded on every host shares its product rightly."""
    old = update(T0 - 2 * 86_400_000, "1")
    judged = Judged(night(lambda each: each | {"updates": [old, *each["updates"]]}))
    assert [halt.version for halt in judged.halts] == [VERSION]
    assert judged.reasons == {}


def test_updates_that_only_crash_reports_list_are_noticed() -> None:
    """Heartbeats list another update, and not this one: who else has it, nobody knows."""
    other = [update(T0 - 86_400_000, "9") | {"product": "other"}]

    def bare(each: Event) -> Event:
        return each if each["kind"] == "crash" else each | {"updates": other if number_of(each) % 3 else []}

    assert Judged(night(bare)).reasons == {"only_crashes_list_it": 1}


def test_a_harmless_update_that_only_crash_reports_list_does_not_halt() -> None:
    """Crashes come to all alike, and no heartbeat lists an update: as if nobody had it but who crashes."""
    everywhere = [
        event("crash", host, T0 + 25 * MINUTE_MS + host * 9_000, signature={"code": f"0x{host % 5}", "module": "m"})
        for host in range(0, HOSTS, 2)
    ]
    bare = [each | {"updates": []} for each in night(crashed=0)]
    judged = Judged(sorted([*bare, *everywhere], key=lambda each: each["ts"]))
    assert judged.halts == []
    assert judged.reasons == {"only_crashes_list_it": 1}
    assert judged.summary["half_blind"]["acme"]["reasons"]["only_crashes_list_it"]["such_as"] == ["v/p/2"]


@pytest.mark.parametrize("cut_together", [True, False])
def test_many_machines_under_one_name_are_noticed(cut_together: bool) -> None:
    """The crashed hosts have the golden image's name: one counts, the name is named; in one batch as in several."""
    step = 1 if cut_together else 7 * MINUTE_MS
    named = [
        crash | {"host": "WIN-GOLDEN", "ts": T0 + 40 * MINUTE_MS + number * step}
        for number, crash in enumerate(crashes(6))
    ]
    judged = Judged(sorted([*night(crashed=0), *named], key=lambda each: each["ts"]))
    assert judged.halts == []
    assert judged.reasons == {"shared_host_names": 1}
    assert judged.summary["half_blind"]["acme"]["shared_host_names"] == {"hosts": 1, "such_as": ["win-golden"]}


def test_a_boot_loop_is_no_shared_name() -> None:
    """One machine that crashes twelve times is itself each time."""
    crash = crashes(1)[0]
    again = [crash | {"id": f"0-{n}", "ts": crash["ts"] + n * 3 * MINUTE_MS} for n in range(12)]
    assert Judged(sorted([*night(crashed=0), *again], key=lambda each: each["ts"])).reasons == {}


def dirty(crash: Event, site: str) -> Event:
    at = T0 + 30 * MINUTE_MS
    boot = {"kind": "boot", "prior": "crash", "prior_ended_at": at, "ts": at + 6 * MINUTE_MS, "site": site}
    return {name: value for name, value in (crash | boot).items() if name != "signature"}


def test_a_power_cut_without_sites_is_noticed() -> None:
    """Forty dirty boots of one minute, without signature and site: three count, and the rest says why not. With their
    sites named they are different events."""
    nameless = Judged(night(on_crashes=lambda crash: dirty(crash, ""), crashed=40))
    assert nameless.halts == []
    assert nameless.reasons == {"dirty_boot_burst": 1}
    assert nameless.summary["noted"]["acme"]["crashes_capped"] == 37
    assert Judged(night(on_crashes=lambda crash: dirty(crash, f"s-{crash['host']}"), crashed=40)).reasons == {}


def test_one_machine_under_three_names_is_one() -> None:
    """A canary that crashes, told by event log, crash reporter and inventory: no evidence of three hosts, no flag."""
    crash = crashes(1)[0]
    names = ("H-0000", "h-0000.corp.example.com", "h-0000")
    told = [crash | {"host": name, "id": f"0-{name}", "ts": crash["ts"] + n} for n, name in enumerate(names)]
    alone = [each if number_of(each) == 0 else each | {"updates": []} for each in night(crashed=0)]
    judged = Judged(sorted([*alone, *told], key=lambda each: each["ts"]))
    assert judged.halts == []
    assert judged.summary["noted"]["acme"] == {"crashes_repeated": 2, "host_respelled": 2}
    assert judged.reasons == {}


def rolled_back(crash: Event, says_so: bool) -> Event:
    """A crash that is told ten minutes later, by when the host has the version before again."""
    back = crash["ts"] + 5 * MINUTE_MS
    removed = [update(installed_at(number_of(crash)), removed_at=back)] * says_so
    return crash | {"updates": [update(back, "1")], "removed": removed}


def test_a_host_that_rolled_back_before_it_reports_is_told_apart() -> None:
    """With `removed` the crash is of the version that was there; without, nobody knows which was, and it is said."""
    told = Judged(night(on_crashes=lambda crash: rolled_back(crash, says_so=True)))
    assert [halt.version for halt in told.halts] == [VERSION]
    assert told.reasons == {}
    silent = Judged(night(on_crashes=lambda crash: rolled_back(crash, says_so=False)))
    assert silent.halts == []
    assert silent.reasons == {"changed_before_report": 1}
    assert silent.summary["noted"]["acme"]["crashes_version_unknown"] == 16


def test_what_was_removed_is_neither_exposed_nor_control() -> None:
    """Heartbeats of hosts that uninstalled it an hour ago: counted, no mend, and no trial either way."""
    entry = [update(T0 - 60 * MINUTE_MS, "7", removed_at=T0 - 30 * MINUTE_MS)]
    judged = Judged([event("heartbeat", host, T0 + host * 1_000, removed=entry) for host in range(40)])
    assert judged.summary["mended"] == {}
    assert judged.summary["noted"]["acme"] == {"exposures_excluded": 40, "updates_removed": 40}


def test_people_read_what_it_costs(capsys: pytest.CaptureFixture[str]) -> None:
    """The account of a backtest has a sentence for each reason."""
    judged = Judged(night(on_crashes=lambda crash: crash | {"os": "recovery"}))
    notes = InputNotes()
    half_blind = judged.summary["half_blind"]["acme"]
    notes.fleets = {"acme": {"noted": {}, "clocks_ahead": {"hosts": 0}, "doubtful": {}, "half_blind": half_blind}}
    notes.show(stdout_console())
    said = " ".join(capsys.readouterr().out.split())
    assert f"strata_without_trials of 1 update, such as v/p/2: {HALF_BLIND['strata_without_trials']}" in said
