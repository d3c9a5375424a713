"""The simulator: seeded, true to its scenario's rates, and its ledger equals its events."""

import itertools
import math
from collections import Counter

import msgspec
import pytest

from pipeline.simulate import scenario as scenarios
from pipeline.simulate.encode import SentEvent
from pipeline.simulate.ledger import FAULT, ORDINARY, SHOCK
from pipeline.simulate.scenario import Rollout, Scenario, unix_ms
from pipeline.simulate.simulation import Simulation, without_halts
from pipeline.wire.decode import decode_event
from pipeline.wire.events import AnyEvent, Boot, Crash, Heartbeat
from pipeline.wire.partials import UpdateId
from pipeline.wire.spans import HOUR_MS

GUILTY = UpdateId("crowdstrike", "falcon-content", "291")
JULY = scenarios.load("crowdstrike-2024-07-19", hosts=4_000)


def run(simulation: Simulation, until_ms: int | None = None, step_ms: int = HOUR_MS) -> list[SentEvent]:
    """Every message up to that time."""
    messages: list[SentEvent] = []
    end = simulation.end_ms if until_ms is None else until_ms
    while simulation.now_ms < end:
        messages += simulation.advance(min(simulation.now_ms + step_ms, end))
    return messages


def decoded(messages: list[SentEvent]) -> list[AnyEvent]:
    """Through the wire's own decoder."""
    return [decode_event(message.value) for message in messages]


def within(observed: int, expected: float, sigmas: float = 4.5) -> bool:
    """Whether a Poisson count is where it should be."""
    return abs(observed - expected) <= sigmas * math.sqrt(max(expected, 1))


@pytest.fixture(scope="module")
def july() -> tuple[Simulation, list[SentEvent], list[AnyEvent]]:
    """The incident on a small fleet, unhindered."""
    simulation = Simulation(JULY, seed=3)
    messages = run(simulation)
    return simulation, messages, decoded(messages)


def test_the_same_seed_gives_the_same_bytes_however_it_is_sliced() -> None:
    """A run is a function of scenario and seed; another seed gives another."""
    until = Simulation(JULY).end_ms - 2 * HOUR_MS
    hourly = run(Simulation(JULY, 5), until)
    assert run(Simulation(JULY, 5), until, step_ms=17_000) == hourly
    assert run(Simulation(JULY, 6), until) != hourly


def test_every_event_is_valid_and_of_the_size_of_real_ones(
    july: tuple[Simulation, list[SentEvent], list[AnyEvent]],
) -> None:
    """The wire's decoder takes each; keys are hosts; ids are unique; 300 to 400 bytes on average."""
    simulation, messages, events = july
    assert [message.key.decode() for message in messages] == [event.host for event in events]
    assert len({event.id for event in events}) == len(events)
    assert 300 <= sum(len(message.value) for message in messages) / len(messages) <= 400
    assert all(a.sent_ms <= b.sent_ms for a, b in itertools.pairwise(messages))
    assert all(event.ts <= message.sent_ms for event, message in zip(events, messages, strict=True))
    assert all(u.installed_at <= m.sent_ms for m, e in zip(messages, events, strict=True) for u in e.updates)
    assert {event.fleet for event in events} == {simulation.scenario.fleet.name}


def test_the_ledger_equals_the_events(july: tuple[Simulation, list[SentEvent], list[AnyEvent]]) -> None:
    """What was emitted is what was counted, and every reported crash is in the ledger at its moment."""
    simulation, _, events = july
    ledger = simulation.ledger
    kinds = {Boot: "boot", Crash: "crash", Heartbeat: "heartbeat"}
    assert Counter(kinds[type(event)] for event in events) == ledger.reports
    assert ledger.ids == len(events)
    assert {event.id for event in events} == {f"{simulation.id_prefix}{number:x}" for number in range(ledger.ids)}
    truth = {(f"h-{h:07d}", simulation.epoch_ms + at) for h, at in zip(ledger.hosts, ledger.at, strict=True)}
    crashes = [event for event in events if isinstance(event, Crash)]
    assert {host for host, _ in truth} >= {event.host for event in crashes}
    first = {event.host: event.ts for event in reversed(crashes)}
    assert sum((host, ts) in truth for host, ts in first.items()) == len(first)


def test_july_takes_down_who_was_reached_and_nobody_else(
    july: tuple[Simulation, list[SentEvent], list[AnyEvent]],
) -> None:
    """Ninety-seven in a hundred of the reached hosts go down; most never report; offline hosts say nothing."""
    simulation, _, events = july
    reached, lost = simulation.reached(GUILTY), simulation.ledger.lost(GUILTY)
    windows, up, eligible = 0.92, 0.85, 0.85
    assert within(reached, JULY.fleet.hosts * windows * up * eligible)
    assert within(lost, reached * 0.97)
    blamed = {event.host for event in events if isinstance(event, Crash) and event.signature.module == "csagent.sys"}
    assert within(len(blamed), lost * 0.1)
    assert len({event.host for event in events}) < JULY.fleet.hosts * 0.88
    assert all(not event.os.startswith("linux") for event in events if event.host in blamed)


def test_a_boot_loop_is_many_reports_of_one_host(july: tuple[Simulation, list[SentEvent], list[AnyEvent]]) -> None:
    """Hosts that get through report several crashes, each with the boot that followed it."""
    _, _, events = july
    loops = Counter(e.host for e in events if isinstance(e, Crash) and e.signature.module == "csagent.sys")
    assert loops.most_common(1)[0][1] == 4
    boots = {(e.host, e.prior_ended_at) for e in events if isinstance(e, Boot) and e.prior == "crash"}
    assert boots == {(e.host, e.ts) for e in events if isinstance(e, Crash)}


def test_a_halt_spares_exactly_those_who_were_not_reached() -> None:
    """The same seed with a halt: what comes before is byte for byte the same, later nobody else is reached."""
    halted_at = unix_ms(JULY.incident_at) + 600_000
    free, halted = Simulation(JULY, 3), Simulation(JULY, 3)
    assert run(free, halted_at) == run(halted, halted_at)
    before = halted.reached(GUILTY)
    spared = halted.halt(GUILTY, ["*"], halted_at)
    run(free)
    run(halted)
    assert halted.reached(GUILTY) == before
    assert before + spared == free.reached(GUILTY)
    until = unix_ms(JULY.account_at)
    assert without_halts(JULY, 3, until).lost(GUILTY) == free.ledger.lost(GUILTY, until - free.epoch_ms)
    assert 0 < halted.ledger.lost(GUILTY) < free.ledger.lost(GUILTY) / 5


def test_a_halt_of_one_ring_leaves_the_others() -> None:
    """Only the named ring's rollout stops; an unknown update or a late halt changes nothing."""
    simulation = Simulation(JULY, 3)
    at = unix_ms(JULY.incident_at)
    run(simulation, at)
    early = simulation.hosts.rings.index("early")
    of_ring = simulation.hosts.ring == early
    row = simulation.ledger.updates.index(GUILTY)
    planned = int((simulation.installed[row][of_ring] < 2**31 - 1).sum())
    assert simulation.halt(GUILTY, ["early", "no-such-ring"], at) == planned > 0
    assert simulation.halt(UpdateId("no", "such", "update"), ["*"], at) == 0
    assert simulation.halt(GUILTY, ["early"], at) == 0


def quiet(**fault: float) -> Scenario:
    """One update to half of a fleet that is told nothing else, with or without a fault."""
    base = scenarios.load("cloud-outage", hosts=20_000)
    signatures = [{"code": "0xc2", "module": "x.sys", "share": 1.0}]
    rollout = {
        "vendor": "v",
        "product": "p",
        "version": "1",
        "release": base.starts,
        "over_minutes": 1.0,
        "share": 0.5,
        "fault": {"signatures": signatures, **fault} if fault else None,
    }
    fleet = msgspec.structs.replace(base.fleet, crashes_per_host_day=0.04, offline_share=0.0)
    return msgspec.structs.replace(base, fleet=fleet, updates=(msgspec.convert(rollout, Rollout),))


def test_ordinary_rates_match_the_scenario() -> None:
    """Heartbeats, boots and crashes per host and day are what the file says, over a stretch without a shock."""
    calm = quiet()
    simulation = Simulation(calm, 11)
    hours = 10
    run(simulation, simulation.epoch_ms + hours * HOUR_MS)
    ledger, host_days = simulation.ledger, calm.fleet.hosts * hours / 24
    drift = sum(1 + 0.3 * math.sin(2 * math.pi * (h + 0.5) / 24) for h in range(hours)) / hours
    assert within(ledger.crashes(ORDINARY), host_days * 0.04 * drift)
    assert ledger.crashes(SHOCK) == 0
    clean_boots = ledger.reports["boot"] - ledger.reports["crash"]
    assert within(clean_boots, host_days * calm.fleet.boots_per_host_day)
    assert abs(ledger.reports["heartbeat"] / (calm.fleet.hosts * hours) - 1) < 0.01


def test_a_fault_has_the_stated_relative_risk() -> None:
    """Hosts with the update crash three times as often as those without."""
    simulation = Simulation(quiet(relative_risk=3.0), 11)
    run(simulation, simulation.epoch_ms + 10 * HOUR_MS)
    ledger = simulation.ledger
    with_update = {int(h) for h in (simulation.installed[0] < 2**31 - 1).nonzero()[0]}
    exposed = sum(host in with_update for host in ledger.hosts)
    control = len(ledger.hosts) - exposed
    assert abs(math.log(exposed / control / 3)) < 4.5 * math.sqrt(1 / exposed + 1 / control)
    assert ledger.lost(UpdateId("v", "p", "1")) > 0
    assert within(ledger.crashes(FAULT), exposed * 2 / 3)


def test_a_shock_hits_everyone_alike() -> None:
    """During a fivefold outage everyone crashes five times as often, with its own signatures."""
    calm = quiet()
    simulation = Simulation(calm, 11)
    run(simulation, simulation.epoch_ms + 13 * HOUR_MS)
    ledger = simulation.ledger
    during = [why for at, why in zip(ledger.at, ledger.causes, strict=True) if at >= 10 * HOUR_MS]
    ordinary, shock = during.count(ORDINARY), during.count(SHOCK)
    assert ordinary > 30
    assert abs(math.log(shock / ordinary / 4)) < 4.5 * math.sqrt(1 / ordinary + 1 / shock)


def test_co_deployed_updates_travel_together() -> None:
    """Nine in ten hosts of the guilty update have the innocent one as well, since the same moment."""
    simulation = Simulation(scenarios.load("co-deployed", hosts=5_000), 1)
    guilty, innocent = simulation.installed
    reached = guilty < 2**31 - 1
    together = (innocent == guilty) & reached
    assert abs(together.sum() / reached.sum() - 0.9) < 0.03
