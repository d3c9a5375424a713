"""Java's shared classes of Kafka, which halve the time that a broker takes to start: made once, by one that does."""

import tempfile
from pathlib import Path

from pipeline.local.kafka.jars import KafkaJars, Say, find_jars, locked
from pipeline.local.kafka.node import START_SECONDS, STOP_SECONDS, BrokerProcess, configure, format_storage
from pipeline.local.kafka.properties import Node
from pipeline.local.kafka.security import Open
from pipeline.local.machine.ports import bind_free
from pipeline.runtime.waiting import Deadline


def prepared_jars(say: Say = lambda _: None) -> KafkaJars:
    """The jars, with an archive of shared classes beside them.

    Raises:
        AndonError: naming what is missing: Java, Maven, or the way to the repository.
    """
    jars = find_jars(say)
    if not jars.archive.exists():
        with locked():
            if not jars.archive.exists():
                say("preparing Java's shared classes, so that Kafka starts faster from now on")
                _make_archive(jars)
    return jars


def _make_archive(jars: KafkaJars) -> None:
    with tempfile.TemporaryDirectory(prefix="classes.", dir=jars.jars.parent) as scratch:
        made = Path(scratch) / "classes.jsa"
        with bind_free() as first, bind_free() as second:
            port, controller_port = first.getsockname()[1], second.getsockname()[1]
        node = Node(1, port, controller_port, Path(scratch) / "broker-1", port)
        configure(node, [node], Open(), {})
        format_storage(jars, [node])
        with BrokerProcess(jars, node, Open(), (f"-XX:ArchiveClassesAtExit={made}",)) as broker:
            broker.start()
            broker.wait_ready(Deadline(START_SECONDS))
            broker.stop(STOP_SECONDS)
        if made.exists():  # some Javas cannot: the start then takes twice as long
            made.rename(jars.archive)
