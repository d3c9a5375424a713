"""From a number of endpoints to what has to be there for them. Pure arithmetic over figures that were measured.

Each figure names the command that measures it on another machine. What nobody measured is an assumption, has a place in
`Load` and is printed with the answer. Processes are sized for the peak, what is kept for the mean.
"""

import math
from typing import NamedTuple

from pipeline.wire import topics
from pipeline.wire.partials import MAX_PARTIAL_BYTES
from pipeline.wire.spans import DAY_MS

DAY_SECONDS = DAY_MS / 1000
GIB = 1 << 30


class Figure(NamedTuple):
    """What was measured, in which unit, and the command that measures it."""

    value: float
    unit: str
    command: str


class PartialFigure(NamedTuple):
    """A partial of so many events while an update crashes all that have it and report: its bytes, those in Kafka, and
    what taking it in costs a correlator."""

    events: float
    size_bytes: float
    zstd_bytes: float
    step_seconds: float  # of CPU


_COMBINE, _SCALE = "andon bench combine --broker kafka", "andon bench scale"
MEASURED = {
    "gateway_events": Figure(110_000, "events per CPU-second of a gateway, 200 in a request", "andon bench collect"),
    "gateway_bytes": Figure(66e6, "bytes of a gateway at its most", "andon bench collect"),
    "combine_events": Figure(268_000, "events per CPU-second of a combiner", _COMBINE),
    "combine_bytes": Figure(137e6, "bytes of a combiner at its most", _COMBINE),
    "kafka_event_bytes": Figure(68, "bytes of an event of 380 in Kafka, zstd, one copy", _COMBINE),
    "correlate_bytes": Figure(99e6, "bytes of a correlator that has no fleet", "andon bench soak"),
    "step_bytes": Figure(40e6, "bytes that steps take beside the state, in an incident", _SCALE),
    "state_update_bytes": Figure(6_200, "bytes of state of an update, without strata", "andon bench decide"),
    "state_stratum_bytes": Figure(470, "bytes of state of an update for each stratum", "andon bench decide"),
    "archive_events": Figure(238_000, "events per CPU-second of an archive", "andon bench archive"),
    "archive_bytes": Figure(
        400e6, "bytes of an archive at its most", "andon bench faults --scenario clickhouse-failing"
    ),
    "clickhouse_events": Figure(25_000, "events per CPU-second of ClickHouse", "andon bench archive"),
    "clickhouse_event_bytes": Figure(47.4, "bytes of an event with all aggregates", "andon bench archive"),
    "clickhouse_raw_bytes": Figure(39.9, "of these bytes what is kept for 90 days", "andon bench archive"),
}
# With 10 thousand, 1 million, 100 million hosts; and with 100 million that report every 20 minutes to two combiners.
PARTIALS_COMMAND = _SCALE
PARTIALS = (
    PartialFigure(1, 294, 173, 0.0008),
    PartialFigure(4, 929, 361, 0.0018),
    PartialFigure(400, 33_292, 6_546, 0.0070),
    PartialFigure(2_400, 102_104, 21_268, 0.0131),
)

BATCHES_PER_SECOND = 20  # of a combiner that keeps up: `combine.batch_ms` is 50
ADMISSION_BYTES, ADMISSION_DEFAULT, KINDS = (
    8,
    1 << 22,
    2,
)  # of `combine.admission_entries`: one for a host and kind of trial
LEAST_PROCESSES = 2  # of what can be exchanged while another goes on
RAW_DAYS, AGGREGATE_DAYS = 90, 365  # of ClickHouse's tables that grow with reports
IMAGES = 2  # of one state, while it is written: as it is, and packed
REMEMBERED_CRASHES = 400_000  # crashed hosts of a day, by fleet
MOST_UPDATES, MOST_STRATA = 2_048, 59  # of a fleet


class Load(NamedTuple):
    """A deployment, as it is assumed to be."""

    endpoints: int
    fleets: int = 1
    reports_per_day: float = 24.0  # of an endpoint: one an hour is what counts
    peak: float = 3.0  # times the mean
    crashes_per_day: float = 0.004  # of an endpoint
    updates: int = 100  # live versions of a fleet
    strata: int = MOST_STRATA  # of a fleet
    busy: float = 0.5  # of a core, at the peak
    replication: int = 3
    gateways: bool = True  # or events come straight into Kafka


class Prices(NamedTuple):
    """Of a month: of a core, of a GiB of memory, of a GiB on disk."""

    core: float
    memory_gib: float
    disk_gib: float


class Stage(NamedTuple):
    """Processes of a kind: how many, and what each takes."""

    processes: int
    cores: float  # of each, at the peak
    memory_bytes: int  # of each


class Plan(NamedTuple):
    """What has to be there."""

    events_per_second: float
    peak_events_per_second: float
    events_per_day: int
    kafka_bytes_per_day: int  # of events, one copy
    clickhouse_bytes_per_day: int
    events_partitions: int
    partials_partitions: int
    partials_per_second: float
    partial_bytes_per_second: float
    admission_entries: int  # `combine.admission_entries`
    stages: dict[str, Stage]
    clickhouse_cores: float
    kafka_disk_bytes: int  # all copies
    clickhouse_disk_bytes: int  # one copy
    limits: tuple[str, ...]  # of Andon's, that this deployment comes to

    @property
    def cores(self) -> float:
        """Of all stages and ClickHouse, at the peak. Kafka's are not in it."""
        return sum(stage.processes * stage.cores for stage in self.stages.values()) + self.clickhouse_cores

    @property
    def memory_bytes(self) -> int:
        """Of all stages. Kafka's and ClickHouse's is not in it."""
        return sum(stage.processes * stage.memory_bytes for stage in self.stages.values())

    @property
    def disk_bytes(self) -> int:
        """Of Kafka and ClickHouse."""
        return self.kafka_disk_bytes + self.clickhouse_disk_bytes

    def cost(self, prices: Prices) -> float:
        """Of a month."""
        memory, disk = self.memory_bytes / GIB, self.disk_bytes / GIB
        return self.cores * prices.core + memory * prices.memory_gib + disk * prices.disk_gib


class Partials(NamedTuple):
    """What the combiners make of the events, each second."""

    per_second: float
    size_bytes: float
    zstd_bytes: float
    step_cores: float  # what taking them in costs


def plan(load: Load) -> Plan:
    """What has to be there for this load."""
    mean = load.endpoints * load.reports_per_day / DAY_SECONDS
    peak, day = mean * load.peak, load.endpoints * load.reports_per_day
    combine = _processes(peak, "combine", load)
    entries = _admission_entries(load.endpoints, combine.processes)
    more = (entries - ADMISSION_DEFAULT) * ADMISSION_BYTES
    partials, usual = (_partials(rate, combine.processes, load.fleets) for rate in (peak, mean))
    stages = {
        **({"collect": _processes(peak, "gateway", load)} if load.gateways else {}),
        "combine": combine._replace(memory_bytes=combine.memory_bytes + more),
        "correlate": _correlators(partials, load),
        "archive": _processes(peak, "archive", load),
    }
    raw, all_tables = (day * MEASURED[name].value for name in ("clickhouse_raw_bytes", "clickhouse_event_bytes"))
    return Plan(
        events_per_second=mean,
        peak_events_per_second=peak,
        events_per_day=round(day),
        kafka_bytes_per_day=round(day * MEASURED["kafka_event_bytes"].value),
        clickhouse_bytes_per_day=round(all_tables),
        events_partitions=_events_partitions(day, combine.processes),
        partials_partitions=stages["correlate"].processes,
        partials_per_second=partials.per_second,
        partial_bytes_per_second=partials.size_bytes,
        admission_entries=entries,
        stages=stages,
        clickhouse_cores=peak / MEASURED["clickhouse_events"].value / load.busy,
        kafka_disk_bytes=round(load.replication * _kafka_bytes(day, usual, stages["correlate"].processes)),
        clickhouse_disk_bytes=round(raw * RAW_DAYS + (all_tables - raw) * AGGREGATE_DAYS),
        limits=tuple(_limits(load, partials, usual)),
    )


def _processes(peak: float, name: str, load: Load) -> Stage:
    """Of a stage that shares events between its processes."""
    cores = peak / MEASURED[f"{name}_events"].value
    many = max(LEAST_PROCESSES, math.ceil(cores / load.busy))
    return Stage(many, cores / many / load.busy, round(MEASURED[f"{name}_bytes"].value))


def _admission_entries(endpoints: int, combiners: int) -> int:
    """A power of two with a place for every host of a combiner's and each kind of its trials."""
    return max(ADMISSION_DEFAULT, 1 << math.ceil(math.log2(KINDS * endpoints / combiners)))


def _partials(rate: float, combiners: int, fleets: int) -> Partials:
    """Each combiner writes one a batch for every fleet that it heard of in it. What is bounded grows ever less with the
    events: between two figures as between them, beyond the last as before it."""
    per_second = min(rate, combiners * BATCHES_PER_SECOND * fleets)
    events = rate / per_second
    above = next((at for at, row in enumerate(PARTIALS) if at and events <= row.events), len(PARTIALS) - 1)
    low, high = PARTIALS[above - 1], PARTIALS[above]
    share = (events - low.events) / (high.events - low.events)
    _, size, zstd, step = (at + share * (to - at) for at, to in zip(low, high, strict=True))
    return Partials(per_second, *(per_second * each for each in (min(size, MAX_PARTIAL_BYTES), zstd, step)))


def _correlators(partials: Partials, load: Load) -> Stage:
    """Fleets are shared between them; one fleet is never divided."""
    many = min(load.fleets, max(1, math.ceil(partials.step_cores / load.busy)))
    each = MEASURED["state_update_bytes"].value + load.strata * MEASURED["state_stratum_bytes"].value
    state = load.updates * each
    memory = MEASURED["correlate_bytes"].value + MEASURED["step_bytes"].value
    memory += (math.ceil(load.fleets / many) + IMAGES) * state
    return Stage(many, partials.step_cores / many / load.busy, round(memory))


def _events_partitions(day: float, combiners: int) -> int:
    """Twice the combiners, so that their number may double; and enough that `retention.bytes` cuts nothing short."""
    kept = day * _days(topics.EVENTS) * MEASURED["kafka_event_bytes"].value
    by_size = math.ceil(kept / int(topics.EVENTS.config["retention.bytes"]))
    return max(topics.EVENTS.partitions, 2 * combiners, by_size)


def _days(topic: topics.Topic) -> float:
    return int(topic.config["retention.ms"]) / DAY_MS


def _kafka_bytes(day: float, partials: Partials, partitions: int) -> float:
    """Of one copy, of the two topics that grow with the endpoints."""
    events = day * _days(topics.EVENTS) * MEASURED["kafka_event_bytes"].value
    bound = int(topics.PARTIALS.config["retention.bytes"]) * partitions
    return events + min(partials.zstd_bytes * DAY_SECONDS * _days(topics.PARTIALS), bound)


def _limits(load: Load, partials: Partials, usual: Partials) -> list[str]:
    """What a person must know before it is met."""
    found = []
    if partials.step_cores / load.fleets > load.busy:
        found.append(
            f"one fleet takes {partials.step_cores / load.fleets:.2f} of a correlator's core, and is never divided"
        )
    crashed = load.endpoints / load.fleets * load.crashes_per_day
    if crashed > REMEMBERED_CRASHES:
        found.append(f"{crashed:,.0f} hosts of a fleet crash in a day, and {REMEMBERED_CRASHES:,} are remembered")
    kept = int(topics.PARTIALS.config["retention.bytes"]) / (usual.zstd_bytes / load.fleets) / 3600
    if kept < 24 * _days(topics.PARTIALS):
        found.append(f"retention.bytes of {topics.PARTIALS.name} is reached after {kept:.1f} h, and 6 h are to be kept")
    if load.updates > MOST_UPDATES:
        found.append(f"a fleet holds {MOST_UPDATES:,} live updates")
    if load.strata > MOST_STRATA:
        found.append(f"a fleet holds {MOST_STRATA} strata apart")
    return found
