"""What the dashboards of grafana/ show of the demo's night: each query of theirs finds something, of the shape that its
panel needs. No Grafana server can be run here: macros and variables are expanded as Grafana does (grafana/preview),
ClickHouse is asked as its user, Prometheus is Debian's, and both are the ones that watched the line."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from support.grafana.boards import BOARDS, Json, links, overrides, panels, targets, variables
from support.grafana.played import Played
from support.grafana.watched import FLEET, HALTED, LIFTED, Watched, watching

from grafana.model.colours import STATES
from grafana.preview.asking import Asked, answers
from grafana.preview.macros import ALL, expand, expand_promql
from grafana.preview.page import page
from pipeline.runtime.clock import wall_clock_ms

pytestmark = pytest.mark.service
HOURS = {"now-1h": 1, "now-6h": 6, "now-24h": 24, "now-30d": 720}
UPDATE = dict(zip(("vendor", "product", "version"), HALTED, strict=True)) | {"fleet": FLEET}
LIFTED_UPDATE = dict(zip(("vendor", "product", "version"), LIFTED, strict=True))
# Found nothing in a night without such trouble: by panel and metric, and why.
SILENT = {
    ("Errors: gateway", "andon_http_connections_closed_total"): "no client was closed",
    ("Errors: combiner", "andon_aborts_total"): "no transaction was aborted",
    ("Errors: detector", "andon_rejected_total"): "it refused no partial",
    ("Errors: detector", "andon_halt_records_disturbed_total"): "nobody disturbed fleet.halts",
    ("Errors: archive", "andon_rejected_total"): "what it could not read, the combiner had refused before",
    ("Errors: archive", "andon_archive_insert_failures_total"): "no insert failed",
    ("What do gauges leave out?", "andon_updates_not_shown_evidence_log10"): "they name every update",
    ("Are records as they were left?", "andon_audit_faults_total"): "nobody touched the audit",
    ("What went to the dead letters?", "andon_deadletters_not_kept_total"): "no token was beyond its quota",
    ("What was understood after all?", "andon_understood_total"): "no body came in another form",
    ("How long does it take to save?", "andon_checkpoint_seconds_bucket"): "state is not saved in every minute",
    ("What is read again?", "andon_read_again_total"): "no client handed anything over again",
    ("How much more do they crash than usual?", "andon_fleet_alarm_rise_ratio"): "no alarm sounded",
    ("Where does telemetry show less than it seems to?", "andon_half_blind_updates"): "it shows all",
    ("What does the supervisor keep?", "andon_process_restarts_total"): "no process was started anew",
}
WELL = {"Which halts are in doubt?"}  # the one halt was right
OF_RESUMES = {"annotation Resumes", "Which resumes stand, and until when?"}
HOSTILE = "') OR 1 = 1 -- %27 ${fleet} \\' UNION ALL SELECT 1 -- 日本\n\\"
each_board = pytest.mark.parametrize("uid", list(BOARDS))
each_choice = pytest.mark.parametrize("is_narrow", [True, False], ids=["one update", "all"])


@pytest.fixture(scope="module")
def watched(played: Played, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The line after its night, under the eyes that a SOC has."""
    with watching(played, tmp_path_factory.mktemp("watched")) as found:
        yield found


def chosen(board: Json, is_narrow: bool, watched: Watched) -> dict[str, str]:
    """A value for every variable: the halted update's, or "all" where there is one."""
    narrow = UPDATE | {"host": watched.crashed_host}
    return {
        name: ALL if each.get("includeAll") and not (is_narrow and name in narrow) else narrow.get(name, "")
        for name, each in variables(board).items()
    }


def sql_of(sql: str, board: Json, values: dict[str, str]) -> str:
    """What ClickHouse would get of the dashboard as it opens."""
    end, hours = wall_clock_ms(), HOURS[board["time"]["from"]]
    return expand(sql, start_ms=end - hours * 3_600_000, end_ms=end, interval_ms=60_000, variables=values)


@each_board
@each_choice
def test_clickhouse_finds_what_its_panels_need(watched: Watched, uid: str, is_narrow: bool) -> None:
    """Rows; of series their time first, in order, and no two of the same time and name; numbers, and these within what
    the unit says; columns by the names that the panel colours, links and turns round."""
    board = BOARDS[uid]
    by_title = {panel["title"]: panel for panel in panels(board)}
    found: dict[str, set[str]] = defaultdict(set)
    for title, target in targets(board):
        if "rawSql" not in target:
            continue
        values = chosen(board, is_narrow, watched)
        if is_narrow and title in OF_RESUMES:
            values |= LIFTED_UPDATE
        asked = sql_of(target["rawSql"], board, values)
        answer = watched.clickhouse.query(asked)
        rows, names = answer.result_rows, list(answer.column_names)
        if not rows and title in WELL:  # of no rows it names no columns, either
            names = [column for column, *_ in watched.clickhouse.query(f"DESCRIBE ({asked})").result_rows]
        assert rows or title in WELL or (title in OF_RESUMES and values.get("version") == HALTED[2]), title
        assert all(math.isfinite(value) for row in rows for value in row if isinstance(value, float)), title
        if title.startswith("annotation "):
            assert names == ["time", "text", "tags"] or not rows
            continue
        panel = by_title[title]
        found[title] |= set(names)
        if target["format"] == 0:
            is_series(title, names, rows)
        if panel["type"] in ("stat", "bargauge"):
            fits_a_number(panel, rows)
        in_unit(panel, names, rows)
    for title, names_found in found.items():
        assert wanted(by_title[title]) <= names_found, title


def wanted(panel: Json) -> set[str]:
    """Columns that a panel speaks of."""
    found = {name for name, *_ in overrides(panel)}
    for address in links(panel):
        found |= set(re.findall(r"__data\.fields\.(\w+)", address))
    for each in panel["transformations"]:
        found |= {value for key, value in each["options"].items() if key.endswith("Field")}
    return found | set(re.findall(r"__field\.labels\.(\w+)", panel["fieldConfig"]["defaults"].get("displayName", "")))


def is_series(title: str, names: list[str], rows: Any) -> None:
    """As the data source makes series of it."""
    assert names[0] == "time", title
    times = [row[0] for row in rows]
    assert all(isinstance(time, datetime) for time in times), title
    assert times == sorted(times), title
    labels = [at for at, value in enumerate(rows[0]) if isinstance(value, str)]
    assert len({(row[0], *(row[at] for at in labels)) for row in rows}) == len(rows), title
    assert len(names) > 1 + len(labels), title


def fits_a_number(panel: Json, rows: Any) -> None:
    """One row; words only where the panel shows words."""
    (row,) = rows
    if panel["options"]["reduceOptions"]["fields"] == "":
        assert all(isinstance(value, int | float) for value in row), panel["title"]


def in_unit(panel: Json, names: list[str], rows: Any) -> None:
    """A share is between 0 and 1, a state is one that has a colour, a duration and a count are not negative."""
    units = {name: value for name, key, value in overrides(panel) if key == "unit"}
    states = {name for name, key, _ in overrides(panel) if key == "mappings"}
    for at, name in enumerate(names):
        unit = units.get(name, panel["fieldConfig"]["defaults"]["unit"])
        found = [row[at] for row in rows if isinstance(row[at], int | float)]
        if unit == "percentunit" and name not in units.keys() | {"hosts", "crashed", "models"}:
            assert all(0 <= value <= 1 for value in found), (panel["title"], name)
        if unit in ("s", "cpm"):
            assert all(value >= 0 for value in found), (panel["title"], name)
        if unit.startswith("dateTime"):
            assert all(isinstance(row[at], datetime) for row in rows), (panel["title"], name)
        if name in states:
            assert {row[at] for row in rows} <= set(STATES), (panel["title"], name)


@each_board
def test_choices_can_be_made(watched: Watched, uid: str) -> None:
    """Every variable of ClickHouse has values, one column of them; what was halted stands first, so that a dashboard of
    one update opens with it."""
    board = BOARDS[uid]
    values: dict[str, str] = {}
    for name, each in variables(board).items():
        if each.get("datasource", {}).get("type") != "grafana-clickhouse-datasource":
            values[name] = ""
            continue
        rows = watched.clickhouse.query(sql_of(each["query"], board, values)).result_rows
        assert rows, name
        assert all(len(row) == 1 and isinstance(row[0], str) for row in rows), name
        values[name] = rows[0][0]
    if not variables(board).get("fleet", {"includeAll": True})["includeAll"]:
        assert values["fleet"] == FLEET
        assert (values["vendor"], values["product"], values["version"]) in (
            HALTED,
            LIFTED,
        )


@each_board
def test_hostile_names_stay_names(watched: Watched, uid: str) -> None:
    """A version that ends its quotes, or Grafana's, finds what one finds that nobody has: nothing more, and no "
    "error."""
    board = BOARDS[uid]
    plain = chosen(board, True, watched)
    for title, target in targets(board):
        if "version" in target.get("rawSql", ""):
            answers = [
                watched.clickhouse.query(
                    sql_of(target["rawSql"], board, plain | dict.fromkeys(UPDATE, name) | {"fleet": FLEET})
                ).result_rows
                for name in (HOSTILE, "nobody has this")
            ]
            assert len(answers[0]) == len(answers[1]), title


@each_board
def test_prometheus_finds_what_its_panels_need(watched: Watched, uid: str) -> None:
    """Series, with every label that their names are made of; numbers; and only what is named above finds none."""
    board = BOARDS[uid]
    values = {name: FLEET if name == "fleet" else ".+" for name in variables(board)}
    end, without = wall_clock_ms(), []
    for title, target in targets(board):
        if "expr" not in target:
            continue
        asked = expand_promql(target["expr"], start_ms=end - 60_000, end_ms=end, interval_ms=5_000, variables=values)
        found = watched.over(asked) if target["range"] else watched.prometheus.asked(asked)
        labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert all(not labels or labels & set(series["metric"]) for series in found), title  # an empty label is none
        assert len(found) <= 1 or labels, title
        numbers = [float(value) for series in found for _, value in series.get("values", [series.get("value")])]
        if not any(map(math.isfinite, numbers)):
            without += [(title, name) for name in re.findall(r"\bandon_\w+", asked)]
    assert [each for each in without if each not in SILENT] == []


def test_prometheus_offers_choices(watched: Watched) -> None:
    """Its variables are of labels that the line's metrics have."""
    for board in BOARDS.values():
        for name, each in variables(board).items():
            if each.get("datasource", {}).get("type") == "prometheus":
                asked, label = re.fullmatch(r"label_values\((.+), (\w+)\)", each["query"]).groups()  # type: ignore[union-attr]
                found = watched.prometheus.asked(asked.replace("$job", ".+"))
                assert any(series["metric"].get(label) for series in found), name


def test_pictures_can_be_drawn_of_it(watched: Watched) -> None:
    """The preview asks the same servers, panel for panel, without an error; and draws what they answer."""
    end = wall_clock_ms()
    choices = UPDATE | {"host": watched.crashed_host}
    for board in BOARDS.values():
        span_ms = HOURS[board["time"]["from"]] * 3_600_000
        answer = answers(board, Asked(watched.prometheus.url, watched.clickhouse, end, span_ms, choices))
        assert dict(errors(board, answer)) == {}
        assert 'class="empty error"' not in page(board, answer, 1280, "")


def errors(board: Json, answer: Json) -> Iterator[tuple[str, str]]:
    """Of panels, by their titles."""
    for panel in panels(board):
        if text := answer["panels"][str(panel["id"])]["error"]:
            yield panel["title"], text
