"""19 July 2024 played into ClickHouse, with a halt three minutes after the release: obeyed, or not by anybody; and what
the simulator's ledger says that it spared."""

from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from consumers.clickhouse.archive.events import EventRows
from pipeline.simulate import scenario as scenarios
from pipeline.simulate.run import shift_ms
from pipeline.simulate.scenario import FASTEST, Scenario, unix_ms
from pipeline.simulate.simulation import Simulation, without_halts
from pipeline.wire.partials import UpdateId
from pipeline.wire.spans import MINUTE_MS

UPDATE = UpdateId("crowdstrike", "falcon-content", "291")
DECIDED_SECONDS, HALTED_SECONDS = 40, 183  # after the release: the crash that decided, and when its report was judged


class Truth(NamedTuple):
    """By the ledger, at the end of the story: hosts whose update crashed them, and how many more would have been."""

    lost: int
    spared: int
    dead: frozenset[str]  # names of lost hosts that never came back


def load(fleet: str, hosts: int) -> Scenario:
    """The scenario, to a fleet of that name and size."""
    return scenarios.load("crowdstrike-2024-07-19", hosts, fleet)


def play(client: Client, scenario: Scenario, now_ms: int, *, obeyed: bool, until_minutes: float | None = None) -> Truth:
    """As `store`, and what is true of it."""
    simulation, end = store(client, scenario, now_ms, obeyed=obeyed, until_minutes=until_minutes)
    shift = simulation.epoch_ms - unix_ms(scenario.starts)
    lost = simulation.ledger.lost(UPDATE, end - simulation.epoch_ms)
    without = without_halts(scenario, 0, end - shift).lost(UPDATE)
    never = simulation._down_until == 2**31 - 1
    return Truth(lost, without - lost, frozenset(str(n) for n in never.nonzero()[0]))


def store(
    client: Client, scenario: Scenario, now_ms: int, *, obeyed: bool, until_minutes: float | None = None
) -> tuple[Simulation, int]:
    """The whole night, or until so many minutes after the release, as a live line would have stored it; it ends now.
    The simulation after it, and when it ended, in unix ms."""
    simulation = Simulation(scenario, shift_ms=shift_ms(scenario, FASTEST, now_ms))
    released = unix_ms(scenario.incident_at) + simulation.epoch_ms - unix_ms(scenario.starts)
    halted = released + HALTED_SECONDS * 1000
    end = simulation.end_ms if until_minutes is None else released + round(until_minutes * MINUTE_MS)
    values: list[bytes] = []
    times: list[int] = []
    while simulation.now_ms < end:
        reaches = min(simulation.now_ms + MINUTE_MS, end, *([halted] if simulation.now_ms < halted else []))
        sent = simulation.advance(reaches)
        values += [message.value for message in sent]
        times += [reaches] * len(sent)
        if reaches == halted and obeyed:
            simulation.halt(UPDATE, ["*"], halted)
    rows = EventRows()(values, times)
    client.insert_arrow("events", pa.Table.from_batches([rows.tables["events"]]))
    if halted <= end:
        store_halt(client, scenario.fleet.name, released + DECIDED_SECONDS * 1000, halted)
    return simulation, end


def store_halt(client: Client, fleet: str, decided_ms: int, halted_ms: int) -> None:
    """The halt, as the archive has it."""
    row = [fleet, *UPDATE, 1, "halt", ["*"], moment(decided_ms), moment(halted_ms), 5]
    names = ["fleet", "vendor", "product", "version", "epoch", "action", "rings", "stream_time", "issued_at"]
    client.insert("halts", [row], column_names=[*names, "crashed_hosts"])


def acknowledge(client: Client, fleet: str, at_ms: int) -> None:
    """A subscriber says that it has stopped."""
    row = ["/".join([fleet, *UPDATE]), 1, "rollout", "confirmed", moment(at_ms)]
    client.insert("halt_acks", [row], column_names=["halt_key", "epoch", "subscriber", "status", "at"])


def moment(at_ms: int) -> datetime:
    """Unix ms as UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)
