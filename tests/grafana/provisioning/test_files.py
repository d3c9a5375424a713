"""What Grafana provisions from files, held to the structs that it reads them into (pkg/services/provisioning of its
repository, Grafana 13), to each other, and to what they name: there is no server to try them on."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.grafana.boards import BOARDS, panels

from grafana.model.queries import CLICKHOUSE_VERSION

ROOT = Path(__file__).parents[3]
PLACE = ROOT / "grafana" / "provisioning"
FILES = {path.relative_to(PLACE).as_posix(): path.read_text("utf-8") for path in sorted(PLACE.rglob("*.yml"))}
SOURCES = {each["uid"]: each for each in yaml.safe_load(FILES["datasources/andon.yml"])["datasources"]}
(GROUP,) = yaml.safe_load(FILES["alerting/rules.yml"])["groups"]
RULES = {rule["title"]: rule for rule in GROUP["rules"]}
USERS = (ROOT / "deploy" / "clickhouse" / "users.sql").read_text("utf-8")
QUESTIONS = ["What it means", "Look first at", "Do", "It is over when", "Wake"]

# Keys of Grafana's structs; those that it does not start without have a mark. A list holds one struct's keys, "*" is
# free.
SCHEMA: dict[str, Any] = {
    "datasources": {
        "apiVersion!": 0,
        "prune": 0,
        "deleteDatasources": "*",
        "datasources!": [
            {
                "name!": 0, "uid!": 0, "type!": 0, "access!": 0, "url": 0, "user": 0, "database": 0, "basicAuth": 0,
                "basicAuthUser": 0, "withCredentials": 0, "isDefault": 0, "correlations": "*", "jsonData": "*",
                "secureJsonData": "*", "editable!": 0, "version": 0, "orgId": 0, "orgName": 0,
            }
        ],
    },
    "dashboards": {
        "apiVersion!": 0,
        "providers!": [
            {
                "name!": 0, "orgId": 0, "folder": 0, "folderUid": 0, "type!": 0, "disableDeletion": 0, "editable": 0,
                "allowUiUpdates": 0, "updateIntervalSeconds": 0,
                "options!": {"path!": 0, "foldersFromFilesStructure": 0},
            }
        ],
    },
    "alerting": {
        "apiVersion!": 0,
        "groups": [
            {
                "orgId": 0, "name!": 0, "folder!": 0, "interval!": 0,
                "rules!": [
                    {
                        "uid!": 0, "title!": 0, "condition!": 0, "dashboardUid": 0, "panelId": 0, "noDataState": 0,
                        "execErrState": 0, "for": 0, "keepFiringFor": 0, "missing_series_evals_to_resolve": 0,
                        "annotations": "*", "labels": "*", "isPaused": 0, "notification_settings": "*", "record": "*",
                        "data!": [
                            {
                                "refId!": 0, "queryType": 0, "datasourceUid!": 0, "model!": "*",
                                "relativeTimeRange!": {"from!": 0, "to!": 0},
                            }
                        ],
                    }
                ],
            }
        ],
        "contactPoints": [
            {
                "orgId": 0, "name!": 0,
                "receivers!": [{"uid!": 0, "type!": 0, "settings!": "*", "disableResolveMessage": 0}],
            }
        ],
        "policies": [{"orgId": 0, "receiver!": 0, "group_by": "*", "matchers": "*", "object_matchers": "*",
                      "group_wait": 0, "group_interval": 0, "repeat_interval": 0, "continue": 0,
                      "mute_time_intervals": "*", "active_time_intervals": "*", "routes": "*"}],
    },
}  # fmt: skip


def faults(value: Any, schema: Any, where: str) -> Iterator[str]:
    """Keys that the struct has not, keys that it needs, and values of another form."""
    if schema == "*":
        return
    if isinstance(schema, list):
        assert isinstance(value, list), where
        for at, each in enumerate(value):
            yield from faults(each, schema[0], f"{where}[{at}]")
    elif isinstance(schema, dict):
        known = {key.rstrip("!"): inner for key, inner in schema.items()}
        yield from (f"{where}: no key {key}" for key in value.keys() - known.keys())
        yield from (f"{where}: lacks {key[:-1]}" for key in schema if key.endswith("!") and key[:-1] not in value)
        for key in value.keys() & known.keys():
            yield from faults(value[key], known[key], f"{where}.{key}")
    elif isinstance(value, dict | list):
        yield f"{where}: a plain value is wanted"


@pytest.mark.parametrize("name", FILES)
def test_keys_are_those_that_grafana_reads(name: str) -> None:
    """Grafana reads over what it does not know, so that a misspelt key would be lost without a word."""
    value = yaml.safe_load(FILES[name])
    assert value["apiVersion"] == 1
    assert list(faults(value, SCHEMA[name.split("/")[0]], name)) == []


def test_the_check_sees_faults() -> None:
    """A key that is misspelt, and one that is missing."""
    value = {"apiVersion": 1, "contactPoints": [{"name": "a", "receivers": [{"uid": "u", "typ": "t", "settings": {}}]}]}
    found = list(faults(value, SCHEMA["alerting"], "x"))
    assert found == ["x.contactPoints[0].receivers[0]: no key typ", "x.contactPoints[0].receivers[0]: lacks type"]


@pytest.mark.parametrize("name", FILES)
def test_what_grafana_puts_in_is_documented(name: str) -> None:
    """Every variable of its environment, and every file, is in the README; no secret stands in a file; and nothing else
    begins with "$" but macros of rules, which Grafana leaves alone (`QueryV1.mapToModel`)."""
    readme = (ROOT / "grafana" / "README.md").read_text("utf-8")
    text = re.sub(r"(^|\s)#.*$", "", FILES[name], flags=re.MULTILINE)
    for found in re.findall(r"\$(?:\{(\w+)\}|__file\{([^}]+)\}|__(\w+))|\$", text):
        variable, path, macro = found
        assert any(found), f"a bare $ in {name}"
        assert macro in ("", "timeFilter", "fromTime", "toTime")
        assert not macro or name == "alerting/rules.yml"
        assert (variable or path) in readme
    assert "password: $__file{" in text or "password" not in text


def test_data_sources_have_least_rights() -> None:
    """ClickHouse is asked as the account that only reads, no longer than the account's profile allows with the five
    seconds that the plugin's client adds; none is edited in the browser."""
    assert {each["type"] for each in SOURCES.values()} == {
        "prometheus",
        "alertmanager",
        "grafana-clickhouse-datasource",
    }
    assert not any(each["editable"] for each in SOURCES.values())
    clickhouse = SOURCES["andon-clickhouse"]
    assert f"CREATE USER IF NOT EXISTS {clickhouse['jsonData']['username']} " in USERS
    most = re.search(
        r"PROFILE IF NOT EXISTS andon_grafana SETTINGS\s+readonly = 1,\s+max_execution_time = (\d+)", USERS
    )
    assert most is not None
    assert int(clickhouse["jsonData"]["queryTimeout"]) + 5 <= int(most[1])
    assert set(clickhouse["secureJsonData"]) == {"password"}
    prometheus = SOURCES["andon-prometheus"]["jsonData"]
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert prometheus["timeInterval"] == scraped
    assert prometheus["alertmanagerUid"] == "andon-alertmanager"


def test_dashboards_find_their_data_sources() -> None:
    """Each asks for a type that is provisioned once."""
    types = [each["type"] for each in SOURCES.values()]
    for board in BOARDS.values():
        for variable in board["templating"]["list"]:
            if variable["type"] == "datasource":
                assert types.count(variable["query"]) == 1


def test_rules_and_dashboards_share_a_folder() -> None:
    """Found by its title: whichever Grafana provisions first makes it."""
    (provider,) = yaml.safe_load(FILES["dashboards/andon.yml"])["providers"]
    assert provider["folder"] == GROUP["folder"]
    assert "folderUid" not in provider


def test_no_alert_is_told_twice() -> None:
    """No rule of Grafana's is one of Prometheus' or of `andon notify`'s, and none asks Prometheus; what Prometheus has
    comes through the Alertmanager data source, which Grafana's own alerts are not sent to besides."""
    ours = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]
    theirs = {rule["alert"] for group in ours for rule in group["rules"] if "alert" in rule}
    assert not RULES.keys() & (theirs | {"AndonHalt", "AndonHaltPending"})
    asked = {query["datasourceUid"] for rule in RULES.values() for query in rule["data"]}
    assert asked == {"andon-clickhouse", "__expr__"}
    assert SOURCES["andon-alertmanager"]["jsonData"]["handleGrafanaManagedAlerts"] is False


@pytest.mark.parametrize("title", RULES)
def test_each_rule_says_what_a_person_needs(title: str) -> None:
    """Severity, summary, description with value and limit, a runbook of five questions, a dashboard that there is and a
    panel on it; labels that the routes know; and no "$" that Grafana would take for its environment's."""
    rule: dict[str, Any] = RULES[title]
    said = rule["annotations"]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert "{{" not in said["summary"]
    assert ".Values.A.Value" in said["description"]
    assert "(limit: " in said["description"]
    assert not any("$" in text for text in said.values())
    assert said["runbook_url"] == f"https://andon.example/runbooks/{title}"
    page = (ROOT / "deploy" / "runbooks" / f"{title}.md").read_text("utf-8")
    assert re.findall(r"^\*\*(.+?):\*\*", page, re.MULTILINE) == QUESTIONS
    board = BOARDS[rule["dashboardUid"]]
    assert f"/d/{board['uid']}?" in said["dashboard_url"]
    assert rule["panelId"] in {panel["id"] for panel in panels(board)}
    assert (rule["noDataState"], rule["execErrState"]) == ("OK", "Error")


@pytest.mark.parametrize("title", RULES)
def test_each_rule_is_a_query_and_a_threshold(title: str) -> None:
    """Of the form that the plugin takes: a table, asked by SQL, in its version; B is the condition, on A."""
    rule = RULES[title]
    query, threshold = rule["data"]
    assert (query["refId"], threshold["refId"], rule["condition"]) == ("A", "B", "B")
    model = query["model"]
    wanted = {"refId": "A", "editorType": "sql", "queryType": "table", "format": 1, "pluginVersion": CLICKHOUSE_VERSION}
    assert wanted.items() <= model.items()
    assert model["datasource"] == {"type": "grafana-clickhouse-datasource", "uid": "andon-clickhouse"}
    condition = threshold["model"]
    assert (condition["type"], condition["expression"], condition["refId"]) == ("threshold", "A", "B")
    assert condition["datasource"] == {"type": "__expr__", "uid": "__expr__"}
    assert query["relativeTimeRange"]["to"] == 0 < query["relativeTimeRange"]["from"]


def test_alerts_reach_alertmanager_before_it_forgets_them() -> None:
    """Every policy ends at the contact point that there is; what fires is said again well within `resolve_timeout`."""
    (contact,) = yaml.safe_load(FILES["alerting/contact-points.yml"])["contactPoints"]
    (root,) = yaml.safe_load(FILES["alerting/policies.yml"])["policies"]
    (route,) = root["routes"]
    assert contact["name"] == root["receiver"] == route["receiver"]
    assert [receiver["type"] for receiver in contact["receivers"]] == ["prometheus-alertmanager"]
    assert route["object_matchers"] == [["team", "=", "andon"]]
    assert all(rule["labels"]["team"] == "andon" for rule in RULES.values())
    timeout = yaml.safe_load((ROOT / "deploy/prometheus/alertmanager.yml").read_text())["global"]["resolve_timeout"]
    assert 2 * _minutes(route["repeat_interval"]) <= _minutes(timeout)


def _minutes(text: str) -> int:
    found = re.fullmatch(r"(\d+)m", text)
    assert found is not None
    return int(found[1])
