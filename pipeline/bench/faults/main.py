"""`andon bench faults`: kills, cuts and restarts under load, on a seeded schedule; then every event is accounted for.

Each scenario has topics of its own on the same brokers, and a ledger of its own.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from confluent_kafka import KafkaException

from pipeline.bench.brokers import described, python
from pipeline.bench.faults.archive import archive_killed, clickhouse_failing
from pipeline.bench.faults.brokers import brokers_restarted, leader_killed, network_cut
from pipeline.bench.faults.combine import combiner_killed, combiner_scaled
from pipeline.bench.faults.correlate import correlator_killed
from pipeline.bench.faults.one_of_each import one_of_each
from pipeline.bench.faults.proxy import Proxies
from pipeline.bench.faults.setup import Figures, Setup
from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.kafka.kinds import BrokerKind
from pipeline.runtime.errors import AndonError

SHARED_MEMORY = Path("/dev/shm")
BROKERS: Literal[3] = 3
EVENTS_PER_SECOND, SHORT_EVENTS_PER_SECOND = 2_000, 500
# Kafka's default is 9 s: that long nobody leads what a broker led that was killed, and halts are to go on within ten.
PROMPT = {"broker.session.timeout.ms": "4000", "broker.heartbeat.interval.ms": "1000"}
BAD = ("lost", "repeated", "lost_by_brokers", "repeated_by_brokers", "lost_halts", "repeated_halts", "wrong_cells")
AIMED = ("kills_in_transaction", "kills_in_recovery", "kills_between_insert_and_commit")
ARCHIVE_RSS_BYTES = 400_000_000  # what it may hold while ClickHouse fails: the rest waits in Kafka


class Scenario(NamedTuple):
    """`brokers`: the least that it needs. `in_short`: part of `--short` where there is but one broker; with three that
    is ONE_OF_EACH, which is part of nothing else. `proxied`: on brokers behind proxies.
    `only_kafka`: why the embedded broker cannot be put to it."""

    run: Callable[[Setup], Figures]
    brokers: int = 1
    in_short: bool = False
    proxied: bool = False
    only_kafka: str = ""


ONE_OF_EACH = "one-of-each"
# Then a message that is there looks lost to whoever followed the topic; a fresh reader sees it.
DEAF = "on the embedded broker a combiner killed inside a transaction leaves live readers deaf"
SCENARIOS = {
    "combiner-killed": Scenario(combiner_killed, in_short=True, only_kafka=DEAF),
    "correlator-killed": Scenario(correlator_killed, in_short=True),
    "archive-killed": Scenario(archive_killed, in_short=True),
    "brokers-restarted": Scenario(brokers_restarted, brokers=BROKERS, in_short=True),
    "combiner-scaled": Scenario(combiner_scaled, in_short=True),
    "leader-killed": Scenario(leader_killed, brokers=BROKERS),
    "clickhouse-failing": Scenario(clickhouse_failing, in_short=True),
    "network-cut": Scenario(network_cut, brokers=BROKERS, proxied=True),
    ONE_OF_EACH: Scenario(one_of_each, brokers=BROKERS, proxied=True),
}


def measure(
    names: Sequence[str], kind: BrokerKind, seed: int, short: bool, rate: int, logs: Path | None = None
) -> dict[str, Any]:
    """Run scenarios one after another, each on topics of its own. One that cannot be finished says why, as "failed"."""
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="andon-faults-", dir=memory) as scratch:
        for proxied in (False, True):
            mine = [name for name in names if SCENARIOS[name].proxied is proxied]
            if mine:
                directory = Path(scratch) / ("proxied" if proxied else "direct")
                with _brokers(kind, directory / "kafka", proxied) as (brokers, proxies):
                    setup = Setup(
                        brokers.client_options(), brokers, proxies, directory, logs or directory, seed, rate, short
                    )
                    found |= {name: run(name, setup) for name in mine}
    return {"scenarios": found, **{name: _total(found, name) for name in BAD}, "on": _on(kind, seed, rate, short)}


@contextmanager
def _brokers(
    kind: BrokerKind, data_dir: Path, proxied: bool
) -> Iterator[tuple[KafkaCluster | EmbeddedBroker, Proxies | None]]:
    data_dir.mkdir(parents=True)
    if kind == "embedded":
        with EmbeddedBroker(data_dir) as broker:
            yield broker, None
    elif not proxied:
        with KafkaCluster(data_dir, BROKERS, settings=PROMPT) as cluster:
            yield cluster, None
    else:
        with Proxies(BROKERS) as proxies:
            cluster = KafkaCluster(data_dir, BROKERS, advertised_ports=proxies.ports, settings=PROMPT)
            proxies.connect_to(tuple(node.port for node in cluster.nodes))
            with cluster:
                yield cluster, proxies


def run(name: str, setup: Setup) -> Figures:
    """Its figures; of one that cannot be finished only why, as "failed": it must not take those of others with it."""
    click.echo(f"andon: {name}", err=True)
    try:
        return SCENARIOS[name].run(setup)
    except (AndonError, KafkaException, ClickHouseError, OSError) as error:
        return {"failed": str(error) or repr(error)}


def _total(found: dict[str, Figures], name: str) -> int:
    return sum(figures.get(name, 0) for figures in found.values())


def _on(kind: BrokerKind, seed: int, rate: int, short: bool) -> dict[str, Any]:
    return {
        **python(),
        "confluent_kafka": version("confluent-kafka"),
        "broker": described(kind),
        "brokers": BROKERS if kind == "kafka" else 1,
        "cpus": os.cpu_count(),
        "seed": seed,
        "events_per_second": rate,
        "short": short,
    }


def chosen(names: tuple[str, ...], kind: BrokerKind, short: bool) -> tuple[str, ...]:
    """The scenarios to run. Without names: those that the broker is fit for; the others are said.

    Raises:
        AndonError: when one was named that the broker is unfit for.
    """
    rows = [name for name, scenario in SCENARIOS.items() if scenario.in_short or not short]
    usual = (ONE_OF_EACH,) if short and kind == "kafka" else tuple(name for name in rows if name != ONE_OF_EACH)
    wanted = names or usual
    unfit = {name: why for name in wanted if kind != "kafka" and (why := _unfit(SCENARIOS[name]))}
    reasons = "; ".join(f"{name} needs --broker kafka: {why}" for name, why in unfit.items())
    if names and unfit:
        raise AndonError(reasons)
    if unfit:
        click.echo(f"andon: left out: {reasons}", err=True)
    return tuple(name for name in wanted if name not in unfit)


def _unfit(scenario: Scenario) -> str:
    return f"it takes {scenario.brokers} brokers" if scenario.brokers > 1 else scenario.only_kafka


@click.command("faults")
@click.option(
    "--scenario", "names", multiple=True, type=click.Choice(list(SCENARIOS)), help="only this one; repeatable"
)
@click.option(
    "--short",
    is_flag=True,
    help="each kind of fault once; of a named scenario: three kills, one restart, five seconds of a failing ClickHouse",
)
@click.option("--seed", default=1, show_default=True)
@click.option("--broker", type=click.Choice(["embedded", "kafka"]), default="kafka", show_default=True)
@click.option("--events-per-second", type=click.IntRange(100), help="load [default: 2000, 500 with --short]")
@click.option("--logs", type=click.Path(path_type=Path), help="keep the stages' logs in this directory")
@click.option("--json", "as_json", is_flag=True, help="one JSON object on standard output")
def command(
    names: tuple[str, ...],
    short: bool,
    seed: int,
    broker: BrokerKind,
    events_per_second: int | None,
    logs: Path | None,
    as_json: bool,
) -> None:
    """Nothing lost, nothing counted twice: exit code 1 when anything was, when the archive grew past its bound, or when
    no kill of a whole schedule hit the moment that it was aimed at."""
    rate = events_per_second or (SHORT_EVENTS_PER_SECOND if short else EVENTS_PER_SECOND)
    found = measure(chosen(names, broker, short), broker, seed, short, rate, logs)
    found["troubles"] = troubles(found)
    if as_json:
        click.echo(json.dumps(found))
    else:
        for name, figures in found["scenarios"].items():
            click.echo(name)
            for key, value in figures.items():
                click.echo(f"  {key:34} {value}")
        for trouble in found["troubles"]:
            click.echo(f"andon: {trouble}", err=True)
    if found["troubles"]:
        sys.exit(1)


def troubles(found: Mapping[str, Any]) -> list[str]:
    """What is not as it must be. A short run is not held to what a machine that also runs a test suite may miss."""
    said = []
    for name, figures in found["scenarios"].items():
        if "failed" in figures:
            said.append(f"{name} could not be finished: {figures['failed']}")
        bad = (*BAD, "different_states") if found["on"]["short"] else (*BAD, "different_states", "halts_late")
        said += [f"{name}: {what} is {figures[what]}" for what in bad if figures.get(what)]
        rss = figures.get("archive_rss_under_faults_bytes", 0)
        if rss > ARCHIVE_RSS_BYTES:
            said.append(f"{name}: the archive grew to {rss} bytes, past {ARCHIVE_RSS_BYTES}")
        if not found["on"]["short"]:
            said += [f"{name}: {what} is 0: no aimed kill landed" for what in AIMED if figures.get(what) == 0]
    return said
