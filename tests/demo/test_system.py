"""`andon demo` as a person runs it: the account follows the scenario, whoever is guilty, and when nobody is."""

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.waiting import DEADLINE_SECONDS, until

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


class Played(NamedTuple):
    """Two acts on a line that is still up."""

    accounts: list[dict[str, Any]]
    told: str
    environ: dict[str, str]  # for other commands


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """The demo with two acts, kept until the tests are over; its exit code is 0 then."""
    folder = tmp_path_factory.mktemp("demo")
    first, second, told = folder / "swapped.toml", folder / "innocent.toml", folder / "told"
    second.write_text(innocent(), "utf-8")
    first.write_text(f"with_rings = {json.dumps(str(second))}\n" + swapped(), "utf-8")
    words = andon("demo", "--scenario", first, "--seed", 77, "--hosts", 6000, "--quick", "--json", "--keep")
    with told.open("w") as stderr:
        demo = subprocess.Popen(
            [*words, "--data-dir", str(folder / "data")], text=True, stdout=subprocess.PIPE, stderr=stderr
        )
    assert demo.stdout is not None
    with demo.stdout as accounts:
        try:
            until(
                "both acts are played", lambda: "The line stays up" in told.read_text() or demo.poll() is not None, 380
            )
            assert demo.poll() is None, told.read_text()
            exports = re.findall("^export (ANDON_[A-Z_]+)=(.*)$", (folder / "data" / "env").read_text(), re.MULTILINE)
            environ = os.environ | {name: shlex.split(value)[0] for name, value in exports}
            yield Played([json.loads(accounts.readline()) for _ in range(2)], told.read_text(), environ)
        finally:
            demo.send_signal(signal.SIGINT)
            assert demo.wait(DEADLINE_SECONDS) == 0, told.read_text()


def test_another_vendor_seed_and_signature(played: Played) -> None:
    """With guilt, look and luck swapped the account names the new culprit, by its own signature, and spares most."""
    (account, _), told, _ = played
    assert account["failures"] == []
    (guilty,) = (update for update in account["updates"] if update["guilty"])
    assert guilty["name"] == "fabrikam/net-tap/8.0.2"
    assert guilty["halt"] is not None
    assert guilty["halt"]["signature"] in (["", ""], ["0x3b", "nettap64.sys"], ["0x7e", "nettap64.sys"])
    assert guilty["halt"]["down_hosts"] <= guilty["lost"] < guilty["lost_without_halt"] / 2
    assert all(update["halt"] is None for update in account["updates"] if not update["guilty"])
    assert "HALT fabrikam/net-tap/8.0.2" in told


def test_nothing_is_halted_when_nothing_is_wrong(played: Played) -> None:
    """The same night without the fault: no halt, and the demo says that there was nothing to halt."""
    (_, account), told, _ = played
    assert account["failures"] == []
    assert all(update["halt"] is None and not update["lost"] for update in account["updates"])
    assert "nothing to halt" in told


def test_who_obeyed_can_be_asked_for(played: Played) -> None:
    """The account names who acknowledged, how fast, and when the last host got the update; so do Kafka and
    ClickHouse."""
    (guilty,) = (update for update in played.accounts[0]["updates"] if update["guilty"])
    halt = guilty["halt"]
    assert (halt["subscriber"], halt["status"]) == ("demo-rollout", "confirmed")
    assert 0 < halt["seconds_to_confirmed"] < DEADLINE_SECONDS
    assert halt["seconds_to_last_install"] is not None

    def asked(*words: str) -> str:
        done = subprocess.run(
            andon(*words), env=played.environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (obeyed,) = json.loads(asked("halts", "show", f"acme/{guilty['name']}", "--json"))["obeyed"]
    assert (obeyed["subscriber"], obeyed["seconds_to_confirmed"]) == ("demo-rollout", halt["seconds_to_confirmed"])
    assert "demo-rollout" in asked("halts", "why", guilty["name"], "--fleet", "acme")
    query = "query", "obedience", "--param", "fleet=acme", "--format", "csv"
    until("ClickHouse has it, too", lambda: '"demo-rollout","confirmed"' in asked(*query))
