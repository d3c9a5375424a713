"""The whole line under the eyes of a SOC, all real: Debian's Prometheus and Alertmanager, with the files that `andon
up` has written, see an incident that is played to it; somebody is told, two operators resume it, and it is over."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.alerting.alertmanager import Alertmanager, Webhook
from support.alerting.prometheus import Prometheus
from support.outside import ANDON, DEADLINE_SECONDS, Line, incident, needs, wait_for
from support.rollout_world import Operator

from pipeline.local.machine.ports import free_port
from pipeline.local.machine.process import Process, andon

pytestmark = pytest.mark.service

UPDATE = "crowdstrike/content/291"
STAGES = {"archive", "collect", "combine", "correlate", "notify", "up"}
RULE, NOTIFY = "AndonHaltIssued", "AndonHalt"


class People:
    """Two operators, whom the line's correlator believes."""

    def __init__(self, line: Line, private: Path) -> None:
        self._line, self._private = line, private
        for name in ("ann", "bob"):
            Operator(name, line.data_dir / "correlate" / "keys").write_private(private / f"{name}.pem")

    def _order(self, who: str, *words: str) -> Any:
        own = ["--key", str(self._private / f"{who}.pem"), "--data-dir", str(self._line.data_dir), "--json"]
        argv = [ANDON, "halts", *words, *own]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def resume(self, fleet: str) -> None:
        """The one proposes it, the other approves."""
        proposed = self._order("ann", "resume", UPDATE, "--fleet", fleet, "--reason", "mended", "--for", "4h")
        self._order("bob", "approve", json.loads(proposed["command"])["id"], "--yes", "--fleet", fleet)


def of(webhook: Webhook, fleet: str, name: str, status: str = "firing") -> list[dict[str, Any]]:
    """What was told."""
    return [each for each in webhook.named(name, status) if each["labels"].get("fleet") == fleet]


def played(line: Line, fleet: str, told: Callable[[], list[dict[str, Any]]]) -> float:
    """Play the incident, until it is told; seconds from the halt, as it was issued, to the webhook."""
    line.kcat_send("fleet.events", incident(fleet, "crowdstrike", "acme-os"))
    arrived = wait_for("it is told", told)[0]["arrived"]
    (halt,) = line.halts(fleet).values()
    return time.time() - (time.monotonic() - float(arrived)) - float(halt["issued_at"]) / 1000


def test_an_incident_is_told_by_rule_and_by_notify_and_is_over_once_it_is_resumed(line: Line, tmp_path: Path) -> None:
    """Within 15 s by the rule, at the intervals that the shipped files set, and within 2 s by `andon notify`, on an
    idle machine; nobody is told twice of one halt."""
    needs("kcat", "prometheus", "prometheus-alertmanager", "promtool")
    keys, written = line.data_dir / "correlate" / "keys", line.data_dir / "prometheus"
    assert line.info["prometheus_file"] == str(written / "prometheus.yml")
    subprocess.run(["promtool", "check", "config", written / "prometheus.yml"], check=True, stdout=subprocess.DEVNULL)
    people = People(line, tmp_path)
    with Webhook() as webhook, Alertmanager(tmp_path, webhook) as alertmanager:
        alertmanager.start()
        tells = Process(
            andon("notify", "--metrics-port", free_port(), "--trusted-keys-dir", keys, "--fleets", "told,ruled"),
            tmp_path / "notify.log",
            {
                "ANDON_KAFKA_BOOTSTRAP_SERVERS": line.info["bootstrap_servers"],
                "ANDON_NOTIFY_ALERTMANAGER_URLS": alertmanager.url,
            },
        )
        with Prometheus(tmp_path, {}, alertmanager.address, written) as prometheus, tells:
            up = wait_for("all are scraped", lambda: _all_up(prometheus))
            took = {"rule_seconds": played(line, "ruled", lambda: of(webhook, "ruled", RULE))}
            assert of(webhook, "ruled", NOTIFY) == []  # the line's own notify has nobody to tell
            tells.start()
            wait_for("notify tells, too", lambda: of(webhook, "ruled", NOTIFY))
            wait_for("and the rule is muted", lambda: "suppressed" in _states(alertmanager, RULE))
            took["notify_seconds"] = played(line, "told", lambda: of(webhook, "told", NOTIFY))
            people.resume("ruled")
            wait_for("it is over", lambda: of(webhook, "ruled", NOTIFY, "resolved"))
            wait_for(
                "the rule sees it", lambda: not prometheus.asked('ALERTS{alertname="AndonHaltIssued", fleet="ruled"}')
            )
    assert of(webhook, "told", NOTIFY, "resolved") == []
    assert up == STAGES
    print(json.dumps({name: round(seconds, 2) for name, seconds in took.items()}))
    assert took["rule_seconds"] < DEADLINE_SECONDS / 2
    assert took["notify_seconds"] < DEADLINE_SECONDS / 10


def _all_up(prometheus: Prometheus) -> set[str] | None:
    found = {each["metric"]["stage"] for each in prometheus.asked('up{job="andon"} == 1')}
    return found if found >= STAGES else None


def _states(alertmanager: Alertmanager, name: str) -> set[str]:
    return {each["status"]["state"] for each in alertmanager.alerts() or () if each["labels"]["alertname"] == name}
