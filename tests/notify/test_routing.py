"""deploy/prometheus/alertmanager.yml: whom each alert reaches, by amtool; and the words that are sent."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[2] / "deploy" / "prometheus"
CONFIG = PLACE / "alertmanager.yml"
pytestmark = pytest.mark.service
HALT = {"alertname": "AndonHalt", "severity": "critical", "fleet": "acme", "version": "291"}


def amtool(*words: str) -> str:
    """What it prints."""
    if shutil.which("amtool") is None:
        pytest.skip("needs amtool (prometheus-alertmanager)")
    done = subprocess.run(["amtool", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_file_is_valid() -> None:
    """As amtool has it, templates too."""
    assert "SUCCESS" in amtool("check-config", str(CONFIG))


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (HALT, "wake"),
        (HALT | {"alertname": "AndonHaltPending"}, "wake"),
        ({"alertname": "AndonDetectorSilent", "severity": "critical", "fleet": "acme"}, "wake"),
        ({"alertname": "AndonFleetAlarm", "severity": "critical", "fleet": "acme"}, "wake"),
        (HALT | {"alertname": "AndonHaltDoubtful", "severity": "warning"}, "ticket"),
        ({"alertname": "AndonDeadLettersRising", "severity": "warning"}, "ticket"),
        ({"alertname": "AndonSaid", "severity": "info"}, "nobody"),
        ({"alertname": "SomebodyElses"}, "ticket"),
        ({"alertname": "AndonHostsSilent", "severity": "critical", "grafana_folder": "Andon"}, "wake"),
        ({"alertname": "DatasourceError", "severity": "critical", "rulename": "AndonHostsSilent"}, "ticket"),
    ],
    ids=["halt", "pending", "critical", "alarm", "doubtful", "warning", "info", "other", "grafana", "blind"],
)
def test_what_is_critical_wakes_and_a_warning_is_a_ticket(labels: dict[str, str], receiver: str) -> None:
    """And what nobody thought of is a ticket, too."""
    pairs = [f"{name}={value}" for name, value in labels.items()]
    assert amtool("config", "routes", "test", "--config.file", str(CONFIG), *pairs).split() == [receiver]


def test_words_are_plain(tmp_path: Path) -> None:
    """The templates give one sentence a halt, and what to do; hostile text stays text."""
    alert = {
        "status": "firing",
        "labels": HALT,
        "annotations": {"summary": "<b>291</b> halted in acme", "description": "5 hosts {{ crashed }}", "runbook_url": "http://r"},
    }  # fmt: skip
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"status": "firing", "commonLabels": HALT, "alerts": [alert]}))

    def rendered(name: str) -> str:
        text = f'--template.text={{{{ template "{name}" . }}}}'
        return amtool("template", "render", f"--template.glob={PLACE}/andon.tmpl", f"--template.data={data}", text)

    assert rendered("andon.title").strip() == "[FIRING 1] <b>291</b> halted in acme"
    assert rendered("andon.text").split("\n")[:2] == ["5 hosts {{ crashed }}", "What to do: http://r"]
