"""`andon demo` as a person runs it: the account follows the scenario, whoever is guilty, and when nobody is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("noida_db", reason="needs the embedded broker")
pytest.importorskip("chdb", reason="needs the ClickHouse engine")

pytestmark = pytest.mark.system
SCENARIO = Path(__file__).parents[2] / "pipeline" / "simulate" / "scenarios" / "crowdstrike-2024-07-19.toml"
FAULT = "[updates.fault]"


def demo(scenario: Path, seed: int) -> tuple[int, dict[str, Any], str]:
    """Exit code, account, and what was told on the way."""
    options = ["--scenario", str(scenario), "--seed", str(seed), "--hosts", "6000", "--quick", "--json"]
    argv = [sys.executable, "-P", "-m", "pipeline", "demo", *options]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=170, check=False)
    assert done.stdout, done.stderr
    (account,) = (json.loads(line) for line in done.stdout.splitlines())
    return done.returncode, account, done.stderr


def scenario_text() -> str:
    """July 2024 without its second act."""
    text = SCENARIO.read_text("utf-8")
    return text.replace('with_rings = "crowdstrike-2024-07-19-rings"', "")


def test_another_vendor_seed_and_signature(tmp_path: Path) -> None:
    """With guilt, look and luck swapped the account names the new culprit, by its own signature, and spares most."""
    text = scenario_text().replace("csagent.sys", "nettap64.sys").replace('"0x50"', '"0x3b"')
    place = text.rindex('vendor = "crowdstrike"')
    swapped = text[place:].replace('vendor = "crowdstrike"', 'vendor = "fabrikam"').replace('"291"', '"8.0.2"')
    file = tmp_path / "swapped.toml"
    file.write_text(text[:place] + swapped.replace('"falcon-content"', '"net-tap"'), "utf-8")
    code, account, told = demo(file, seed=77)
    assert code == 0, told
    assert account["failures"] == []
    (guilty,) = (update for update in account["updates"] if update["guilty"])
    assert guilty["name"] == "fabrikam/net-tap/8.0.2"
    assert guilty["halt"] is not None
    assert guilty["halt"]["signature"] in (["", ""], ["0x3b", "nettap64.sys"], ["0x7e", "nettap64.sys"])
    assert guilty["halt"]["down_hosts"] <= guilty["lost"] < guilty["lost_without_halt"] / 2
    assert all(update["halt"] is None for update in account["updates"] if not update["guilty"])
    assert "HALT fabrikam/net-tap/8.0.2" in told


def test_nothing_is_halted_when_nothing_is_wrong(tmp_path: Path) -> None:
    """The same night without the fault: no halt, exit code 0, and the demo says that there was nothing to halt."""
    text = scenario_text()
    start = text.index(FAULT)
    file = tmp_path / "innocent.toml"
    file.write_text(text[:start] + text[text.index("# Azure Central US") :], "utf-8")
    code, account, told = demo(file, seed=78)
    assert code == 0, told
    assert account["failures"] == []
    assert all(update["halt"] is None and not update["lost"] for update in account["updates"])
    assert "nothing to halt" in told
