"""`andon archive`: Kafka into ClickHouse, every event once."""

import gc

import click

from consumers.clickhouse.archive.config import GROUP, STAGE, ArchiveConfig, HostsConfig
from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.halt.trust import TrustConfig
from pipeline.runtime import logging
from pipeline.runtime.config import configured, masked
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.lifecycle import StopSignal, leave
from pipeline.runtime.web.serving import MetricsConfig, serve

_COLLECT_EVERY = 100_000  # allocations: a batch makes many objects and no cycles


@click.command("archive", help="Stage: Kafka to ClickHouse.")
@configured(
    (STAGE, ArchiveConfig),
    ("clickhouse", ClickHouseConfig),
    ("kafka", KafkaConfig),
    ("metrics", MetricsConfig),
    ("trust", TrustConfig),
    ("hosts", HostsConfig),
)
def command(
    archive: ArchiveConfig,
    clickhouse: ClickHouseConfig,
    kafka: KafkaConfig,
    metrics: MetricsConfig,
    trust: TrustConfig,
    hosts: HostsConfig,
) -> None:
    """Foreground; SIGTERM stores what is held and stops."""
    stop = StopSignal().install()
    from consumers.clickhouse.archive.convert import Converter, HostNames  # here: help does not wait for them
    from consumers.clickhouse.archive.insert import Inserter
    from consumers.clickhouse.archive.stage import Archive
    from pipeline.runtime.reading.watch import ReadingWatch

    log = logging.configure(STAGE)
    watch = ReadingWatch(kafka, STAGE, GROUP, log, "what it stores", "stored")
    serve(metrics, watch.health(), STAGE)
    where = {"bootstrap_servers": kafka.bootstrap_servers, "clickhouse": masked(clickhouse)}
    log.info("starting", **masked(archive), **where)
    trusted = trust.keys(log.error)
    if trusted is None:
        log.warning("halts, verdicts and heartbeats are stored unverified: trust.keys_dir names no keys")
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)
    inserter = Inserter(clickhouse, log)
    watch.trouble = inserter.trouble
    convert = Converter(kafka.topic_prefix, trusted, HostNames(hosts.kept))
    with watch.in_slot(archive.slot):
        stage = Archive(archive, kafka, inserter, log, convert, watch.start().at)
        if not stage.run(stop.is_set):
            log.warning("ClickHouse does not answer: left without it", inserts=inserter.under_way())
    leave(0)  # Python would wait for requests that are not answered, and who watches the reading still asks the brokers
