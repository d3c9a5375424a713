"""deploy/prometheus/rules.yml, by promtool: each alert fires when it should and only then; what it names is there."""

import json
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
GRAFANA = ROOT / "grafana" / "generated"
RUNBOOKS = ROOT / "deploy" / "runbooks"
GRAFANA_RULES = ROOT / "grafana" / "provisioning" / "alerting" / "rules.yml"
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
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", *(str(_written(tmp_path, name)) for name in ALERTS))


def _written(place: Path, alert: str) -> Path:
    """The cases of an alert, over its rule and the recorded series alone: over all rules they take much longer."""
    rules, file = place / f"{alert}.rules.yml", place / f"{alert}.yml"
    recorded = [group for group in GROUPS if any("record" in rule for rule in group["rules"])]
    only = {"name": "only", "interval": "5s", "rules": [ALERTS[alert]]}
    rules.write_text(yaml.safe_dump({"groups": [*recorded, only]}))
    tests = [_test(case) for case in CASES if case["alert"] == alert]
    file.write_text(yaml.safe_dump({"rule_files": [rules.name], "evaluation_interval": "5s", "tests": tests}))
    return file


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
    told |= set(re.findall(r"title: (Andon\w+)", GRAFANA_RULES.read_text()))
    assert {page.stem for page in RUNBOOKS.glob("Andon*.md")} == {*ALERTS, *told}
    expressions = " ".join(rule["expr"] for group in GROUPS for rule in group["rules"])
    assert set(re.findall(r"(?<![:\w])andon_\w+", expressions)) <= declared().keys()


DASHBOARDS = {file.name: file.read_text("utf-8") for file in sorted(GRAFANA.glob("*.json"))}
# Metrics that no rule and no dashboard needs, each with why there is one all the same.
FOR_PEOPLE_ALONE = {
    "andon_notify_firing_alerts": "to compare with Alertmanager's own count",
    "andon_buffered_events": "the gateway's /readyz says it, too",
    "andon_http_connections": "to find who holds connections",
    "andon_http_connections_closed_total": "to find who holds connections",
    "andon_halts_read_timestamp_seconds": "the heartbeat's flag says when it is too old",
    "andon_deadletters_not_kept_total": "to find which token sends what cannot be read",
    "andon_understood_total": "to find who sends other forms",
    "andon_unwatched_updates": "andon_noted says how many exposures that were",
    "andon_commands_total": "the audit has each of them",
    "andon_stream_time_seconds": "andon_lag_seconds says how late it is",
}
KNOWN = set(declared()) | {f"{name}{end}" for name in declared() for end in ("_bucket", "_sum", "_count")}


def dashboards() -> dict[str, dict[str, Any]]:
    """By uid."""
    if not DASHBOARDS:
        pytest.skip("no dashboard is generated yet")
    return {each["uid"]: each for each in map(json.loads, DASHBOARDS.values()) if "uid" in each}


def test_dashboards_that_alerts_name_are_there() -> None:
    """And variables that links set are theirs."""
    found = dashboards()
    for name, rule in ALERTS.items():
        uid, _, variables = rule["annotations"]["dashboard_url"].partition("/d/")[2].partition("?")
        assert uid in found, name
        named = {each["name"] for each in found[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", variables)) <= named, name


def test_what_dashboards_name_is_there() -> None:
    """Metrics, recorded series, runbooks."""
    dashboards()
    recorded = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}
    for file, text in DASHBOARDS.items():
        expressions = " ".join(re.findall(r'"expr": "((?:[^"\\\\]|\\\\.)*)"', text))
        named = set(re.findall(r"[a-z_:]*\bandon_\w+(?::\w+)?", expressions))
        assert named <= KNOWN | recorded, file
        assert set(re.findall(r"/runbooks/(Andon\w+)", text)) <= {page.stem for page in RUNBOOKS.glob("Andon*.md")}, (
            file
        )


def test_every_metric_is_looked_at() -> None:
    """By a rule or a dashboard, or it is said why not."""
    dashboards()
    text = RULES.read_text() + " ".join(DASHBOARDS.values())
    unseen = {name for name in declared() if not re.search(rf"\b{name}(_bucket|_sum|_count)?\b", text)}
    assert unseen <= FOR_PEOPLE_ALONE.keys()
