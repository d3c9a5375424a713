"""`andon demo` as a person runs it: the account follows the scenario, whoever is guilty, and when nobody is."""

import json
import subprocess

import pytest
from support.grafana.played import Played
from support.waiting import DEADLINE_SECONDS, until

from pipeline.local.machine.process import andon

pytest.importorskip("noida_db", reason="needs the embedded broker")
pytest.importorskip("chdb", reason="needs the ClickHouse engine")

pytestmark = pytest.mark.service


def test_another_vendor_seed_and_signature(played: Played) -> None:
    """With guilt, look and luck swapped the account names the new culprit, by its own signature, and spares most."""
    (account, _), told = played.accounts, played.told
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
    (_, account), told = played.accounts, played.told
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

    obeyed = json.loads(asked("halts", "show", f"acme/{guilty['name']}", "--json"))["obeyed"]
    (ours,) = (each for each in obeyed if each["subscriber"] == "demo-rollout")  # other tests may have added one
    assert ours["seconds_to_confirmed"] == halt["seconds_to_confirmed"]
    assert "demo-rollout" in asked("halts", "why", guilty["name"], "--fleet", "acme")
    query = "query", "obedience", "--param", "fleet=acme", "--format", "csv"
    until("ClickHouse has it, too", lambda: '"demo-rollout","confirmed"' in asked(*query))
