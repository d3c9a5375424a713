"""`andon combine`: one worker slot of the combiner."""

import ctypes
import gc

import click

from pipeline.combine.config import GROUP, STAGE, CombineConfig
from pipeline.runtime import logging
from pipeline.runtime.config import configured, masked
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.lifecycle import StopSignal, leave
from pipeline.runtime.partials import PartialsConfig, seal_of
from pipeline.runtime.web.serving import MetricsConfig, serve
from pipeline.wire.hosts import HostNames, HostsConfig
from pipeline.wire.topics import EVENTS

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_COLLECT_EVERY = 200_000  # tracked objects: events are freed by reference count, the collector only costs time


@click.command()
@configured(
    ("kafka", KafkaConfig),
    ("metrics", MetricsConfig),
    ("partials", PartialsConfig),
    ("hosts", HostsConfig),
    (STAGE, CombineConfig),
)
def command(
    kafka: KafkaConfig, metrics: MetricsConfig, partials: PartialsConfig, hosts: HostsConfig, combine: CombineConfig
) -> None:
    """Fold events into partials, one Kafka transaction per micro-batch. Exit code 70 asks for a restart."""
    run(kafka, metrics, partials, hosts, combine)
    leave(0)  # whoever watches its reading still asks the brokers


def _bound_heap() -> None:
    """With glibc: few malloc arenas, and freed megabytes go back; else each thread keeps what it once held."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, 256 << 10)
        mallopt(_M_TRIM_THRESHOLD, 8 << 20)


def run(
    kafka: KafkaConfig, served: MetricsConfig, partials: PartialsConfig, hosts: HostsConfig, combine: CombineConfig
) -> None:
    """Run until SIGTERM or SIGINT."""
    _bound_heap()
    stop = StopSignal().install()
    from pipeline.combine.stage import Combiner  # here: help does not wait for them
    from pipeline.runtime.reading.watch import ReadingWatch

    log = logging.configure(STAGE)
    log.info("starting", kafka=masked(kafka), combine=masked(combine), hosts=masked(hosts))
    seal = seal_of(partials, log)
    watch = ReadingWatch(kafka, STAGE, GROUP, log, EVENTS.name, "folded")
    serve(served, watch.health(), STAGE)
    names = HostNames(hosts.kept)
    with watch.in_slot(combine.slot):
        combiner = Combiner(kafka, combine, stop, log, seal.sealed if seal else bytes, watch.start().at, names)
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_EVERY)
        log.info("ready")
        combiner.run()
    log.info("stopped")
