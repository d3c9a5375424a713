"""`andon backtest` as a black box: scenario files in, decisions out; each file is made once."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.simulate import scenario as scenarios
from pipeline.simulate.simulation import Simulation
from pipeline.wire.spans import MINUTE_MS

pytestmark = pytest.mark.service

Lines = list[bytes]
LinesOf = Callable[[str], Lines]

# Hosts, and the part of the scenario that is played: small enough for a test, long enough for a history.
PARTS = {
    "crowdstrike-2024-07-19": (20_000, "2024-07-19T01:30", "2024-07-19T04:30"),
    "co-deployed": (20_000, "2024-10-01T05:00", "2024-10-01T10:00"),
    "quiet-week": (3_000, "2024-06-05T00:00", "2024-06-06T06:00"),
    "cloud-outage": (10_000, "2024-11-05T05:00", "2024-11-05T12:00"),
    "bad-driver-one-model": (8_000, "2024-09-10T05:00", "2024-09-10T15:00"),
}
CRASHES_PER_HOST_DAY = {"bad-driver-one-model": 0.02}  # more than it says: the fewer hosts then show as much
GUILTY_291 = {("crowdstrike", "falcon-content", "291")}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture(scope="module")
def lines_of() -> LinesOf:
    """A scenario's events in the order in which they were sent."""
    made: dict[str, Lines] = {}

    def make(name: str) -> Lines:
        if name not in made:
            hosts, starts, ends = PARTS[name]
            whole = scenarios.load(name, hosts)
            rate = CRASHES_PER_HOST_DAY.get(name, whole.fleet.crashes_per_host_day)
            fleet = msgspec.structs.replace(whole.fleet, crashes_per_host_day=rate)
            part = msgspec.structs.replace(whole, fleet=fleet, starts=moment(starts), ends=moment(ends))
            simulation, lines = Simulation(part, seed=7), []
            while simulation.now_ms < simulation.end_ms:
                lines += [message.value for message in simulation.advance(simulation.now_ms + MINUTE_MS)]
            made[name] = lines
        return made[name]

    return make


class Found:
    """What a run printed."""

    def __init__(self, output: bytes) -> None:
        records = [json.loads(line) for line in output.splitlines()]
        self.halts: list[dict[str, Any]] = [r for r in records if r["type"] == "halt"]
        self.summary: dict[str, Any] = records[-1]
        assert self.summary["type"] == "summary"
        assert len(self.halts) == self.summary["halts"] == len(records) - 1

    @property
    def halted(self) -> set[tuple[str, str, str]]:
        return {(h["vendor"], h["product"], h["version"]) for h in self.halts}


def backtest(lines: Lines, *options: str) -> Found:
    """Run the command in its own process, with the events on its standard input."""
    argv = [sys.executable, "-m", "pipeline", "backtest", "-", "--json", *options]
    done = subprocess.run(argv, input=b"\n".join(lines), capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    return Found(done.stdout)


def same_but_for_time(first: Found, second: Found) -> bool:
    """The same keys and rings, decided within five minutes of each other."""
    one, other = (
        {(h["vendor"], h["product"], h["version"], *h["rings"]): h["at"] for h in f.halts} for f in (first, second)
    )
    return one.keys() == other.keys() and all(abs(one[key] - other[key]) <= 5 * MINUTE_MS for key in one)


def disturbed(lines: Lines, seed: int) -> Lines:
    """Every event moved by up to five minutes, half of them sent again within five minutes more."""
    draw = random.Random(seed)
    timed = [(json.loads(line)["ts"], line) for line in lines]
    moved = [(at + draw.uniform(0, 5 * MINUTE_MS), line) for at, line in timed]
    again = [(at + draw.uniform(0, 5 * MINUTE_MS), line) for at, line in moved if draw.random() < 0.5]
    return [line for _, line in sorted(moved + again)]


@pytest.fixture(scope="module")
def incident(lines_of: LinesOf) -> Found:
    """19 July 2024, read once."""
    return backtest(lines_of("crowdstrike-2024-07-19"))


@pytest.fixture(scope="module")
def co_deployed(lines_of: LinesOf) -> Found:
    """A guilty update and its companion, read once."""
    return backtest(lines_of("co-deployed"))


def test_the_incident_halts_291_and_nothing_else(incident: Found) -> None:
    """291 alone is halted, everywhere, within two minutes and a few dozen hosts of its release."""
    assert incident.halted == GUILTY_291
    (halt,) = incident.halts
    released_ms = moment("2024-07-19T04:09").timestamp() * 1000
    assert halt["rings"] == ["*"]
    assert released_ms < halt["at"] < released_ms + 5 * MINUTE_MS
    assert 3 <= halt["crashed_hosts"] <= 40
    assert halt["log10_evidence"] >= 6
    assert halt["relative_risk"][0] > 10
    assert "mode" not in halt


def test_the_summary_accounts_for_every_line(incident: Found, lines_of: LinesOf) -> None:
    """Events are counted, none refused, and innocent updates end far below the threshold."""
    summary = incident.summary
    assert (summary["events"], summary["rejected"]) == (len(lines_of("crowdstrike-2024-07-19")), 0)
    evidence = summary["max_log10_evidence"]
    assert evidence["crowdstrike/falcon-content/291"] > 6
    assert all(x < 3 for name, x in evidence.items() if not name.endswith("/291"))


def test_only_the_guilty_of_two_companions_halts(co_deployed: Found) -> None:
    """The update that travels with the guilty one is not halted."""
    assert co_deployed.halted == {("contoso", "vpn-driver", "5.2.0")}


def test_a_quiet_time_halts_nothing(lines_of: LinesOf) -> None:
    """Ordinary rollouts come nowhere near the threshold."""
    found = backtest(lines_of("quiet-week"))
    assert found.halts == []
    assert all(x < 3 for x in found.summary["max_log10_evidence"].values())


def test_an_outage_is_blamed_on_no_update(lines_of: LinesOf) -> None:
    """Every host crashes five times as often after an innocent push to all: no halt."""
    assert backtest(lines_of("cloud-outage")).halts == []


def test_a_fault_on_one_model_is_found(lines_of: LinesOf) -> None:
    """A driver that crashes one model in ten is halted, and nothing else."""
    assert backtest(lines_of("bad-driver-one-model")).halted == {("nvidia", "display-driver", "560.81")}


@pytest.mark.parametrize("name", ["crowdstrike-2024-07-19", "co-deployed"])
def test_shuffled_and_repeated_input_halts_the_same(
    name: str, lines_of: LinesOf, request: pytest.FixtureRequest
) -> None:
    """Events up to five minutes out of order, some of them twice: the same halts, within five minutes."""
    known = request.getfixturevalue("incident" if name.startswith("crowd") else "co_deployed")
    assert same_but_for_time(known, backtest(disturbed(lines_of(name), seed=11)))


def test_a_shadow_policy_says_so(lines_of: LinesOf, tmp_path: Path) -> None:
    """Under a shadow policy the decision is reported with its mode."""
    policy = tmp_path / "policy.toml"
    policy.write_text('[[update]]\nvendor = "crowdstrike"\nmode = "shadow"\n', "utf-8")
    found = backtest(lines_of("crowdstrike-2024-07-19"), "--policy", str(policy))
    assert [h["mode"] for h in found.halts] == ["shadow"]
