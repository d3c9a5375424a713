"""Scenario files: those that come with Andon are right, and what is wrong in one is said plainly."""

from pathlib import Path

import pytest

from pipeline.runtime.errors import ConfigError
from pipeline.simulate import scenario as scenarios
from pipeline.simulate.scenario import unix_ms
from pipeline.wire.partials import UpdateId

GUILTY = UpdateId("crowdstrike", "falcon-content", "291")
BUILT_IN = Path(str(scenarios.SCENARIOS))


def test_every_scenario_loads() -> None:
    """Each file that is shipped is a valid scenario under its own name."""
    assert {scenarios.load(name).name for name in scenarios.names()} == set(scenarios.names())
    assert len(scenarios.names()) == 7


def test_the_published_facts_of_july_2024() -> None:
    """Release, revert and their 78 minutes, a million hosts, and the signature family of one module."""
    loaded = scenarios.load("crowdstrike-2024-07-19")
    (guilty,) = (r for r in loaded.updates if r.update == GUILTY)
    assert loaded.guilty == {GUILTY}
    assert loaded.fleet.hosts == 1_000_000
    assert unix_ms(guilty.release) == 1_721_362_140_000  # 04:09 UTC
    assert guilty.revert is not None
    assert unix_ms(guilty.revert) - unix_ms(guilty.release) == 78 * 60_000
    assert guilty.ring_delay_minutes == {}
    assert guilty.fault is not None
    assert {s.module for s in guilty.fault.signatures} == {"csagent.sys"}
    assert len(guilty.fault.signatures) > 1


def test_the_ringed_incident_differs_by_its_rollout_only() -> None:
    """`extends` lays a few keys over the other file and keeps the rest."""
    base, rings = scenarios.load("crowdstrike-2024-07-19"), scenarios.load("crowdstrike-2024-07-19-rings")
    assert [r for r in rings.updates if r.fault is None] == [r for r in base.updates if r.fault is None]
    assert rings.guilty == base.guilty
    assert rings.fleet.name != base.fleet.name
    assert {r.update: r.ring_delay_minutes for r in rings.updates}[GUILTY]["broad"] == 480


def test_hosts_and_fleet_can_be_given() -> None:
    """The command line's size and name replace the file's."""
    fleet = scenarios.load("quiet-week", hosts=7, fleet="mine").fleet
    assert (fleet.hosts, fleet.name) == (7, "mine")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("canary = 0.02", "canary = 0.5"), "shares of fleet.rings sum to 1.48"),
        (("hosts = 20_000", "hosts = 0"), "fleet.hosts"),
        (("hosts = 20_000", 'hosts = "many"'), "Expected `int`"),
        (("hosts = 20_000", "hosts = 0"), "fleet.hosts = 0: Expected `int` >= 1"),
        (("offline_share = 0.1", "ofline_share = 0.1"), "fleet.ofline_share = 0.1: unknown key; known: boots_per"),
        (("over_minutes", "share = 1.5\nover_minutes"), "updates[0].share = 1.5: Expected `float` <= 1.0"),
        (("canary = 0.02", "canary = 2"), "fleet.rings.canary = 2: Expected `float` <= 1.0"),
        (("ends = 2024-06-10", "ends = 2024-05-10"), "must lie after starts"),
        (("account_at = 2024-06-10", "account_at = 2024-06-11"), "account_at"),
        (('version = "288"', 'version = "287"'), "listed twice"),
        (("canary = 0, early", "canari = 0, early"), "ring 'canari'"),
        (('vendor = "intel"', 'alongside = "a/b/c"\nvendor = "intel"'), "no update of that name"),
        (("name =", "name ="), None),
        (("[fleet]", "[fleet"), "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: tuple[str, str], words: str | None) -> None:
    """A wrong scenario is refused with the key and what would be right."""
    text = (BUILT_IN / "quiet-week.toml").read_text("utf-8")
    file = tmp_path / "mine.toml"
    file.write_text(text.replace(*change, 1), "utf-8")
    if words is None:
        scenarios.load(str(file))
        return
    with pytest.raises(ConfigError) as error:
        scenarios.load(str(file))
    assert words in str(error.value)
    assert "mine.toml" in str(error.value)


def test_an_unknown_name_lists_the_known() -> None:
    """A misspelt scenario says which there are."""
    with pytest.raises(ConfigError, match="slow-burn"):
        scenarios.load("slow-burned")
