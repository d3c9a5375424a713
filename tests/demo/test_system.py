"""`andon demo` as a person runs it: the account follows the scenario, whoever is guilty, and when nobody is."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.local.machine.process import andon

pytest.importorskip("noida_db", reason="needs the embedded broker")
pytest.importorskip("chdb", reason="needs the ClickHouse engine")

pytestmark = pytest.mark.service
SCENARIO = Path(__file__).parents[2] / "pipeline" / "simulate" / "scenarios" / "crowdstrike-2024-07-19.toml"
FAULT = "[updates.fault]"


def scenario_text() -> str:
    """July 2024 without its second act."""
    text = SCENARIO.read_text("utf-8")
    return text.replace('with_rings = "crowdstrike-2024-07-19-rings"', "")


def swapped() -> str:
    """With guilt and look of another update."""
    text = scenario_text().replace("csagent.sys", "nettap64.sys").replace('"0x50"', '"0x3b"')
    place = text.rindex('vendor = "crowdstrike"')
    fault = text[place:].replace('vendor = "crowdstrike"', 'vendor = "fabrikam"').replace('"291"', '"8.0.2"')
    return text[:place] + fault.replace('"falcon-content"', '"net-tap"')


def innocent() -> str:
    """The same night without the fault, in a fleet of its own."""
    text = scenario_text().replace('name = "acme"', 'name = "unharmed"')
    return text[: text.index(FAULT)] + text[text.index("# Azure Central US") :]


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], str]:
    """The accounts of two acts, played on one line, and what was told on the way; the exit code is 0."""
    folder = tmp_path_factory.mktemp("demo")
    first, second = folder / "swapped.toml", folder / "innocent.toml"
    second.write_text(innocent(), "utf-8")
    first.write_text(f"with_rings = {json.dumps(str(second))}\n" + swapped(), "utf-8")
    words = andon("demo", "--scenario", first, "--seed", 77, "--hosts", 6000, "--quick", "--json")
    done = subprocess.run(words, capture_output=True, text=True, timeout=380, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_another_vendor_seed_and_signature(acts: tuple[list[dict[str, Any]], str]) -> None:
    """With guilt, look and luck swapped the account names the new culprit, by its own signature, and spares most."""
    (account, _), told = acts
    assert account["failures"] == []
    (guilty,) = (update for update in account["updates"] if update["guilty"])
    assert guilty["name"] == "fabrikam/net-tap/8.0.2"
    assert guilty["halt"] is not None
    assert guilty["halt"]["signature"] in (["", ""], ["0x3b", "nettap64.sys"], ["0x7e", "nettap64.sys"])
    assert guilty["halt"]["down_hosts"] <= guilty["lost"] < guilty["lost_without_halt"] / 2
    assert all(update["halt"] is None for update in account["updates"] if not update["guilty"])
    assert "HALT fabrikam/net-tap/8.0.2" in told


def test_nothing_is_halted_when_nothing_is_wrong(acts: tuple[list[dict[str, Any]], str]) -> None:
    """The same night without the fault: no halt, and the demo says that there was nothing to halt."""
    (_, account), told = acts
    assert account["failures"] == []
    assert all(update["halt"] is None and not update["lost"] for update in account["updates"])
    assert "nothing to halt" in told
