"""What Grafana makes of a query: by example, and what values from outside can do to it."""

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grafana.preview.macros import ALL, MacroError, Value, expand, expand_promql

START_MS, END_MS = 1_721_361_600_500, 1_721_365_200_900  # 19 July 2024, 04:00:00.5 to 05:00:00.9 UTC
FILTER = "ts >= toDateTime(1721361600) AND ts <= toDateTime(1721365200)"
FILTER_MS = "ts >= fromUnixTimestamp64Milli(1721361600500) AND ts <= fromUnixTimestamp64Milli(1721365200900)"
DAYS = "day >= toDate('2024-07-19') AND day <= toDate('2024-07-19')"
CHOSEN: dict[str, Value] = {"fleet": "acme", "ring": ["canary", "broad"], "one": ["canary"], "all": ALL, "none": ""}


def sql(text: str, interval_ms: int = 15_000, **variables: Value) -> str:
    """Expanded, at that time."""
    chosen = CHOSEN | variables
    return expand(text, start_ms=START_MS, end_ms=END_MS, interval_ms=interval_ms, variables=chosen)


def promql(text: str, interval_ms: int = 15_000, **variables: Value) -> str:
    """The same of PromQL."""
    chosen = CHOSEN | variables
    return expand_promql(text, start_ms=START_MS, end_ms=END_MS, interval_ms=interval_ms, variables=chosen)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("WHERE $__timeFilter(ts)", f"WHERE {FILTER}"),
        ("WHERE $__timeFilter_ms(ts)", f"WHERE {FILTER_MS}"),
        ("WHERE $__timeFilter( toDateTime(ts) )", f"WHERE {FILTER.replace('ts', 'toDateTime(ts)')}"),
        ("$__dateFilter(day)", DAYS),
        ("$__dt(day, ts)", f"({DAYS}) AND ({FILTER})"),
        ("$__dateTimeFilter(day, ts)", f"({DAYS}) AND ({FILTER})"),
        ("$__fromTime, $__toTime", "toDateTime(1721361600), toDateTime(1721365200)"),
        ("$__fromTime_ms", "fromUnixTimestamp64Milli(1721361600500)"),
        ("$__toTime_ms", "fromUnixTimestamp64Milli(1721365200900)"),
        ("$__timeInterval(ts)", "toStartOfInterval(toDateTime(ts), INTERVAL 15 second)"),
        ("$__timeInterval_ms(ts)", "toStartOfInterval(toDateTime64(ts, 3), INTERVAL 15000 millisecond)"),
        ("$__interval_s", "15"),
        ("$__interval, ${__interval}, $__interval_ms", "15s, 15s, 15000"),
        ("$__from, ${__to}", f"{START_MS}, {END_MS}"),
        ("$__conditionalAll(ring IN ('$ring', f(a, b)), $all) AND 1", "1=1 AND 1"),
        ("$__conditionalAll(f(a, $__conditionalAll(x, $all)), ${fleet})", "f(a, 1=1)"),
        ("$__conditionalAll(ring = $none, $none)", "1=1"),
        ("$__conditionalAll(ring IN ($ring), $ring)", "ring IN ('canary','broad')"),
        ("'$fleet', '${fleet}', '[[fleet]]'", "'acme', 'acme', 'acme'"),
        ("${fleet:singlequote}, ${ring:singlequote}", "'acme', 'canary','broad'"),
        ("[[ring:sqlstring]], ${ring:csv}, ${ring:raw}", "'canary','broad', canary,broad, canary,broad"),
        ("${ring:json}, ${fleet:json}", '["canary","broad"], acme'),
        ("${one:percentencode}, ${ring:percentencode}", "%7Bcanary%7D, %7Bcanary%2Cbroad%7D"),
        ("match(x, 'a$') -- 5 $", "match(x, 'a$') -- 5 $"),
    ],
)
def test_sql(text: str, becomes: str) -> None:
    """As macros.go and the data source's `applyTemplateVariables` have it."""
    assert sql(text) == becomes


def test_an_interval_is_never_nothing() -> None:
    """Under a second, seconds are 1."""
    assert sql("$__interval_s $__interval $__timeInterval(t)", 200).startswith(
        "1 200ms toStartOfInterval(toDateTime(t)"
    )
    assert "INTERVAL 1 second" in sql("$__timeInterval(t)", 200)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("rate(x[$__rate_interval])", "rate(x[20s])"),
        ("rate(x[$__interval]) $__interval_ms", "rate(x[15s]) 15000"),
        ("x[$__range] $__range_s $__range_ms", "x[3600s] 3600 3600400"),
        ('x{a=~"$ring", b="$fleet"}', 'x{a=~"(canary|broad)", b="acme"}'),
        ('x{a=~"$one"}', 'x{a=~"canary"}'),
    ],
)
def test_promql(text: str, becomes: str) -> None:
    """As the Prometheus data source has it, scraping every five seconds."""
    assert promql(text) == becomes


def test_a_rate_has_four_scrapes_or_a_step_and_one() -> None:
    """Whichever is longer."""
    assert promql("$__rate_interval", 60_000) == "65s"
    assert promql("$__rate_interval", 1_000) == "20s"
    assert promql("$__interval", 90_000) == "1m"


def test_promql_escapes_as_the_data_source_does() -> None:
    """A value is a string; of several, each is a regular expression for itself; double quotes stay."""
    assert promql('x="$v"', v="a.b\\") == 'x="a.b\\\\"'
    assert promql('x=~"$v"', v=["a.b", 'c\\"']) == 'x=~"(a\\\\.b|c\\\\\\\\")"'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("$__timeFiltre(ts)", "$__timeFiltre"),
        ("$__adHocFilters('t')", "$__adHocFilters"),
        ("$flet", "flet"),
        ("${fleet:hex}", "hex"),
        ("ring IN ($all)", "all"),
        ("$__timeFilter()", "1 arguments"),
        ("$__dt(day)", "2 arguments"),
        ("$__timeFilter(f(ts)", "not closed"),
        ("$__conditionalAll(x = 1, ${all:singlequote})", "plain variable"),
        ("$__conditionalAll(x = 1)", "plain variable"),
        ("$__conditionalAll(x = 1, $nobody)", "nobody"),
        ("$__conditionalAll(match(x, 'a$'), $fleet)", "cannot hold"),
        ("${__rate_interval}", "__rate_interval"),
    ],
)
def test_what_would_go_wrong_is_named(text: str, named: str) -> None:
    """A macro, variable or format that there is not, and what would reach ClickHouse unexpanded or changed."""
    with pytest.raises(MacroError, match=re.escape(named)):
        sql(text)


def test_promql_knows_its_own() -> None:
    """No macro of ClickHouse's, no variable that is not there."""
    for text in ("$__timeFilter(ts)", "$nobody"):
        with pytest.raises(MacroError, match="no variable"):
            promql(text)


HOSTILE = st.text(max_size=20) | st.text("'\\\"$_(){},%\n;-timeFlterd", max_size=30)


@given(HOSTILE)
def test_percent_encoded_no_value_leaves_its_quotes(value: str) -> None:
    """Whatever an endpoint calls its update, between the quotes stands a word, and it is the value when decoded."""
    text = sql("decodeURLComponent('${v:percentencode}') = $__fromTime", v=value)
    found = re.fullmatch(r"decodeURLComponent\('([\w.~%-]*)'\) = toDateTime\(1721361600\)", text, re.ASCII)
    assert found is not None
    assert unquote(found[1]) == value


@given(st.lists(HOSTILE, min_size=1, max_size=4))
def test_nor_do_several(values: list[str]) -> None:
    """The same of a variable that allows several: one word in the form {a,b}."""
    found = re.fullmatch(r"'([\w.~%-]*)'", sql("'${v:percentencode}'", v=values), re.ASCII)
    assert found is not None
    assert unquote(found[1]) == "{" + ",".join(values) + "}"


def test_the_other_formats_let_values_out() -> None:
    """Why the dashboards do not use them: as it is in Grafana, a backslash ends the string too late, and a macro in a
    value is expanded, quotes and all."""
    assert sql("x = ${v:singlequote}", v="\\' OR 1=1 --") == "x = '\\\\' OR 1=1 --'"
    assert sql("x = ${v:sqlstring}", v="\\' OR 1=1 --") == "x = '\\'' OR 1=1 --'"
    assert sql("x = ${v:singlequote}", v="$__dateFilter(d)").startswith("x = 'd >= toDate('2024-07-19')")
