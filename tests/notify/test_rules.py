"""deploy/prometheus/rules.yml, by promtool: each alert fires when it should and only then; what it names is there."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.alerting.metrics_table import declared

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
RUNBOOKS = ROOT / "deploy" / "runbooks"
GRAFANA = ROOT / "grafana" / "provisioning" / "alerting" / "rules.yml"
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
CASES = yaml.safe_load(Path(__file__).with_name("rules_cases.yml").read_text())
QUESTIONS = ["What it means", "Look first at", "Do", "It is over when", "Wake"]

pytestmark = pytest.mark.service


def promtool(*words: str) -> None:
    """Raises AssertionError with what it says."""
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool (prometheus)")
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    """All cases in one run; a scrape that is missed resolves nothing."""
    assert {(case["alert"], "fires" in case) for case in CASES} == {
        (name, how) for name in ALERTS for how in (True, False)
    }
    file = tmp_path / "test.yml"
    tests = [_test(case) for case in CASES]
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "5s", "tests": tests}))
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(file))


def _test(case: dict[str, Any]) -> dict[str, Any]:
    alert = case["alert"]
    fires = {"alertname": alert, "alertstate": "firing"} | ALERTS[alert]["labels"] | case.get("fires", {})
    sample = {"labels": "ALERTS{" + ", ".join(f'{name}="{value}"' for name, value in fires.items()) + "}", "value": 1}
    asked = {"expr": f'ALERTS{{alertname="{alert}", alertstate="firing"}}', "eval_time": case["at"]}
    return {
        "interval": "5s",
        "name": f"{alert}, {'fires' if 'fires' in case else 'is silent'}",
        "input_series": [{"series": series, "values": values} for series, values in case["series"].items()],
        "promql_expr_test": [asked | {"exp_samples": [sample] if "fires" in case else []}],
    }


@pytest.mark.parametrize("name", ALERTS)
def test_each_says_what_a_person_needs(name: str) -> None:
    """Severity; a description with the value and the limit; a runbook of five questions; where to look."""
    rule: dict[str, Any] = ALERTS[name]
    said = rule["annotations"]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert "{{" not in said["summary"]
    assert "$value" in said["description"] or name == "AndonNotifyMissing"  # which has none
    assert re.search(r"\((limit|wanted|up = )", said["description"])
    assert said["runbook_url"].endswith(f"/runbooks/{name}")
    assert "/d/andon-" in said["dashboard_url"]
    page = (RUNBOOKS / f"{name}.md").read_text()
    assert re.findall(r"^\*\*(.+?):\*\*", page, re.MULTILINE) == QUESTIONS


def test_no_runbook_is_without_its_alert() -> None:
    """Nor a metric of a rule that nobody declares."""
    told = {"AndonHalt", "AndonHaltPending"}  # by `andon notify`
    told |= set(re.findall(r"title: (Andon\w+)", GRAFANA.read_text()))
    assert {page.stem for page in RUNBOOKS.glob("Andon*.md")} == {*ALERTS, *told}
    expressions = " ".join(rule["expr"] for group in GROUPS for rule in group["rules"])
    assert set(re.findall(r"(?<![:\w])andon_\w+", expressions)) <= declared().keys()
