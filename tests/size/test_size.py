"""`andon size`: arithmetic with properties, over figures that a command measures."""

import json
import shlex
from itertools import pairwise

import click
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from support.sources import ROOT

from pipeline.cli import andon
from pipeline.size.main import command
from pipeline.size.model import (
    ADMISSION_DEFAULT,
    BATCHES_PER_SECOND,
    LEAST_PROCESSES,
    MEASURED,
    PARTIALS,
    PARTIALS_COMMAND,
    Load,
    Plan,
    Prices,
    plan,
)
from pipeline.wire import topics
from pipeline.wire.partials import MAX_PARTIAL_BYTES

ENDPOINTS = st.integers(1, 1_000_000_000)
LOADS = st.builds(
    Load,
    endpoints=ENDPOINTS,
    fleets=st.integers(1, 1_000),
    reports_per_day=st.floats(0.5, 1_440),
    peak=st.floats(1, 20),
    crashes_per_day=st.floats(0, 1),
    replication=st.integers(1, 5),
    updates=st.integers(1, 2_048),
    strata=st.integers(1, 59),
    busy=st.floats(0.1, 1),
    gateways=st.booleans(),
)
GROWS = (
    "events_per_second", "events_per_day", "kafka_bytes_per_day", "clickhouse_bytes_per_day", "events_partitions",
    "partials_partitions", "partials_per_second", "partial_bytes_per_second", "clickhouse_cores", "kafka_disk_bytes",
    "clickhouse_disk_bytes", "cores", "disk_bytes",
)  # fmt: skip


def size(*words: object) -> Result:
    """`andon size …`."""
    return CliRunner().invoke(command, [str(word) for word in words])


@given(load=LOADS, factor=st.floats(1, 1_000))
def test_more_endpoints_never_need_less(load: Load, factor: float) -> None:
    """Of anything; but for memory, of which a combiner's table takes powers of two."""
    small, large = plan(load), plan(load._replace(endpoints=round(load.endpoints * factor)))
    for name in GROWS:
        assert getattr(large, name) >= getattr(small, name) * (1 - 1e-9), name
    for name, stage in small.stages.items():
        assert large.stages[name].processes >= stage.processes
    assert large.memory_bytes >= small.memory_bytes / 2


@given(load=LOADS, factor=st.integers(2, 50))
def test_what_is_stored_is_linear(load: Load, factor: int) -> None:
    """In endpoints, and in reports: no cell, no fleet and no combiner changes what an event takes on disk."""
    once = plan(load)
    for more in (
        load._replace(endpoints=load.endpoints * factor),
        load._replace(reports_per_day=load.reports_per_day * factor),
    ):
        many = plan(more)
        for name in ("events_per_day", "kafka_bytes_per_day", "clickhouse_bytes_per_day", "clickhouse_disk_bytes"):
            assert getattr(many, name) == pytest.approx(factor * getattr(once, name), rel=1e-6, abs=factor), name


@given(load=LOADS)
def test_every_process_does_its_share(load: Load) -> None:
    """All that shares events has enough processes, each at most so busy at the peak, and a partition each."""
    needed = plan(load)
    peak = needed.peak_events_per_second
    for name, rate in (("collect", "gateway"), ("combine", "combine"), ("archive", "archive")):
        if name in needed.stages:
            stage = needed.stages[name]
            assert stage.processes >= LEAST_PROCESSES
            assert stage.cores <= 1 + 1e-9
            assert stage.processes * MEASURED[f"{rate}_events"].value * load.busy >= peak * (1 - 1e-9)
    assert needed.stages["combine"].processes <= needed.events_partitions
    assert needed.stages["correlate"].processes == needed.partials_partitions <= load.fleets


@given(load=LOADS)
def test_what_reaches_the_correlator_is_bounded(load: Load) -> None:
    """By combiners and fleets, however many endpoints there are; a partial by its limit."""
    needed = plan(load)
    combiners = needed.stages["combine"].processes
    assert needed.partials_per_second <= combiners * BATCHES_PER_SECOND * load.fleets
    assert needed.partial_bytes_per_second <= needed.partials_per_second * MAX_PARTIAL_BYTES
    assert needed.admission_entries >= ADMISSION_DEFAULT
    assert needed.admission_entries & (needed.admission_entries - 1) == 0


@given(load=LOADS)
def test_memory_of_the_correlator_is_that_of_updates_and_strata(load: Load) -> None:
    """One fleet's state is the same with a thousand times the endpoints."""
    alone = load._replace(fleets=1)
    more = alone._replace(endpoints=alone.endpoints * 1_000)
    assert plan(alone).stages["correlate"].memory_bytes == plan(more).stages["correlate"].memory_bytes


@given(load=LOADS)
def test_a_partition_of_events_is_kept_its_time(load: Load) -> None:
    """`retention.bytes` of the topic cuts nothing short of `retention.ms`, when hosts are spread evenly."""
    needed = plan(load)
    kept = needed.kafka_bytes_per_day * int(topics.EVENTS.config["retention.ms"]) / 86_400_000
    assert kept <= needed.events_partitions * int(topics.EVENTS.config["retention.bytes"]) * (1 + 1e-6)


@given(load=LOADS, factor=st.floats(0, 100))
def test_cost_is_prices_times_what_is_needed(load: Load, factor: float) -> None:
    """No price but those given."""
    needed, prices = plan(load), Prices(20.0, 3.0, 0.1)
    dearer = Prices(*(price * factor for price in prices))
    assert needed.cost(Prices(0, 0, 0)) == 0
    assert needed.cost(dearer) == pytest.approx(factor * needed.cost(prices))


def test_a_partial_grows_ever_less() -> None:
    """What is measured of partials is concave, so what lies between is not more, and what lies beyond is no less."""
    for column in range(1, len(PARTIALS[0])):
        points = [(row[0], row[column]) for row in PARTIALS]
        slopes = [(to[1] - at[1]) / (to[0] - at[0]) for at, to in pairwise(points)]
        assert slopes == sorted(slopes, reverse=True)
        assert points[0][1] >= slopes[0] > 0


@pytest.mark.parametrize("name", [*MEASURED, "partials"])
def test_a_figure_names_the_command_that_measures_it(name: str) -> None:
    """It exists, with the options that are named."""
    words = MEASURED[name].command if name in MEASURED else PARTIALS_COMMAND
    first, bench, which, *options = shlex.split(words)
    assert (first, bench) == ("andon", "bench")
    group = andon.get_command(click.Context(andon), "bench")
    assert isinstance(group, click.Group)
    found = group.get_command(click.Context(group), which)
    assert found is not None
    assert {word for word in options if word.startswith("--")} <= {opt for param in found.params for opt in param.opts}


CHART = ROOT / "deploy" / "helm" / "andon" / "values.yaml"


def test_the_charts_limits_hold_a_million_endpoints() -> None:
    """Each stage's memory as the chart bounds it, and as many partitions as its combiners are told of."""
    values = yaml.safe_load(CHART.read_text("utf-8"))
    needed = plan(Load(1_000_000))
    for name, stage in needed.stages.items():
        bound = values[name]["resources"]["limits"]["memory"]
        number, unit = float(bound[:-2]), {"Mi": 1 << 20, "Gi": 1 << 30}[bound[-2:]]
        assert stage.memory_bytes <= number * unit, name
    assert values["combine"]["partitions"] == needed.events_partitions


def test_limits_are_said() -> None:
    """Where a deployment comes to one of Andon's; a small one comes to none."""
    assert plan(Load(10_000)).limits == ()
    said = " ".join(plan(Load(2_000_000_000, reports_per_day=288, updates=3_000, strata=60)).limits)
    for words in ("never divided", "are remembered", "retention.bytes", "2,048 live updates", "59 strata"):
        assert words in said


def test_the_command() -> None:
    """A list of what is needed, and what is assumed; `--json` has every figure; a cost only from prices."""
    told = size("--endpoints", 1_000_000)
    assert told.exit_code == 0
    assert "1,000,000 endpoints" in told.stdout
    assert "a month" not in told.stdout
    assert max(map(len, told.stdout.splitlines())) <= 120
    prices = ("--price-core", 20, "--price-memory", 3, "--price-disk", 0.1)
    answer = json.loads(size("--endpoints", 1_000_000, *prices, "--json").stdout)
    (each,) = answer["plans"]
    needed: Plan = plan(Load(1_000_000))
    assert each["plan"]["cores"] == pytest.approx(needed.cores)
    assert each["cost_per_month"] == pytest.approx(needed.cost(Prices(20, 3, 0.1)))
    assert answer["measured"].keys() == {*MEASURED, "partials"}
    assert json.loads(size("--endpoints", 5, "--json").stdout)["plans"][0]["cost_per_month"] is None


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "--endpoints"),
        (("--endpoints", 0), "--endpoints"),
        (("--endpoints", 1, "--busy", 0), "--busy"),
        (("--endpoints", 1, "--price-core", 1), "--price-memory"),
    ],
    ids=["nothing", "none", "never", "half a price"],
)
def test_what_makes_no_sense_is_refused(words: tuple[object, ...], why: str) -> None:
    """With the option that is wrong."""
    refused = size(*words)
    assert refused.exit_code == 2
    assert why in refused.output
