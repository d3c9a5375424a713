"""`andon bench combine`: events through a combiner in its own process, and every event counted afterwards."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import click
from confluent_kafka import Producer, libversion

from pipeline.bench.brokers import broker_option, described, python, running
from pipeline.bench.combine_load import EventLoad, messages
from pipeline.local.kafka.kinds import BrokerKind
from pipeline.local.machine.process import START_SECONDS, Process, andon
from pipeline.runtime import topic_admin
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import PROMPT, KafkaConfig, producer_config
from pipeline.runtime.topic_reader import TopicReader
from pipeline.runtime.waiting import Deadline, wait_for
from pipeline.wire import topics
from pipeline.wire.partials import decode_partial

RUN_SECONDS = 180.0
# The embedded broker answers a fetch with all that it has: with all events waiting, the combiner's memory would be the
# backlog, 0.78 KB for each.
MAX_UNREAD, SLICE_EVENTS = 200_000, 20_000
SHARED_MEMORY = Path("/dev/shm")


class Read(NamedTuple):
    """What came out: sums over the partials, and the time between the first and the last of them."""

    events: int
    events_after_first: int
    seconds: float
    partials: int
    partial_bytes: int


class Used(NamedTuple):
    """What the combiner's process took, by the kernel's account of it when it ended."""

    cpu_seconds: float
    start_cpu_seconds: float
    peak_rss_bytes: int


class Feed:
    """Puts the events on the topic, all at once or never more than `most_unread` ahead of what was folded."""

    def __init__(self, kafka: KafkaConfig, load: EventLoad, most_unread: int | None) -> None:
        self._producer = Producer(producer_config(kafka, "bench-load", **{"linger.ms": 20}))
        # Made beforehand where there is a lead to keep: making one takes longer than folding it.
        self._events = iter(messages(load) if most_unread is None else list(messages(load)))
        self._most_unread = load.events if most_unread is None else most_unread
        self._fed = self.size_bytes = 0

    def lead(self, folded: int) -> None:
        """Produce as far as may be once so many are folded; returns when the broker has them.

        Raises:
            AndonError: when it does not take them.
        """
        if folded + self._most_unread - self._fed < min(SLICE_EVENTS, self._most_unread):
            return
        before = self._fed
        for key, value in islice(self._events, folded + self._most_unread - self._fed):
            self._fed += 1
            self.size_bytes += len(value)
            while True:
                try:
                    self._producer.produce(topics.EVENTS.name, value, key)
                    break
                except BufferError:
                    self._producer.poll(0.05)
        if self._fed > before and self._producer.flush(60):
            raise AndonError("the broker did not take the events")


def read_partials(kafka: KafkaConfig, expected: int, lead: Callable[[int], None]) -> Read:
    """Read committed partials until they account for every event, or time is up; `lead` hears how many they were."""
    deadline = Deadline(RUN_SECONDS)
    first_at = last_at = 0.0
    events = first_events = partials = size = 0
    with TopicReader(kafka, "bench", settings=PROMPT) as reader:
        reader.start(reader.whole(topics.PARTIALS.name))
        while events < expected and not deadline.has_passed:
            for message in reader.poll(0.02):
                value = message.value() or b""
                last_at = time.monotonic()
                partial = decode_partial(value)
                if not first_at:
                    first_at, first_events = last_at, partial.events
                events, partials, size = events + partial.events, partials + 1, size + len(value)
            lead(events)
    return Read(events, events - first_events, last_at - first_at, partials, size)


def run_combiner(
    kafka: KafkaConfig, expected: int, log: Path, lead: Callable[[int], None] = lambda _: None
) -> tuple[Read, Used]:
    """Start a combiner, let it fold everything, stop it."""
    combiner = Process(andon("combine", "--bootstrap-servers", kafka.bootstrap_servers), log)
    with combiner.start():
        # Imports and connections, before the first message is asked for; seen at once, for that is not to be counted.
        wait_for(lambda: combiner.said("ready") or not combiner.is_running, START_SECONDS, 0.002)
        started = combiner.cpu_seconds()
        read = read_partials(kafka, expected, lead)
        code = combiner.stop()
    if code:
        raise AndonError(f"the combiner ended with {code}: {combiner.last_words()}")
    return read, Used(combiner.cpu_seconds(), started, combiner.peak_rss_bytes())


def plain_loop(kafka: KafkaConfig, expected: int) -> float:
    """CPU seconds that the yardstick takes for the same events."""
    argv = [sys.executable, "-m", "pipeline.bench.plain_loop", kafka.bootstrap_servers, str(expected)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=True, timeout=RUN_SECONDS)
    return float(json.loads(done.stdout)["cpu_seconds"])


def measure(load: EventLoad, kind: BrokerKind) -> dict[str, Any]:
    """One run, everything started and stopped here."""
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    most_unread = MAX_UNREAD if kind == "embedded" else None
    with (
        tempfile.TemporaryDirectory(prefix="andon-bench-", dir=memory) as scratch,
        running(kind, Path(scratch) / "broker") as kafka,
    ):
        topic_admin.apply(kafka, replication=1)
        feed = Feed(kafka, load, most_unread)
        feed.lead(0)
        read, used = run_combiner(kafka, load.events, Path(scratch) / "combine.log", feed.lead)
        plain_seconds = plain_loop(kafka, load.events)
    cpu_seconds = used.cpu_seconds - used.start_cpu_seconds
    return {
        "events": load.events,
        "events_per_second": round(read.events_after_first / read.seconds) if read.seconds else 0,
        "events_per_cpu_second": round(read.events / cpu_seconds),
        "plain_loop_events_per_cpu_second": round(load.events / plain_seconds),
        "times_plain_loop": round(plain_seconds / cpu_seconds * read.events / load.events, 2),
        "peak_rss_bytes": used.peak_rss_bytes,
        "lost": max(0, load.events - read.events),
        "repeated": max(0, read.events - load.events),
        "bytes_per_event": round(feed.size_bytes / load.events, 1),
        "partials": read.partials,
        "partial_bytes_per_event": round(read.partial_bytes / max(1, read.events), 1),
        "cpu_seconds": round(cpu_seconds, 3),
        "cpu_seconds_of_start": round(used.start_cpu_seconds, 3),
        "on": {
            **python(),
            "librdkafka": libversion()[0],
            "msgspec": version("msgspec"),
            "numpy": version("numpy"),
            "broker": described(kind),
            "cpus": os.cpu_count(),
            "most_unread_events": most_unread or load.events,
            "load_average": round(os.getloadavg()[0], 1),
            **load._asdict(),
        },
    }


@click.command("combine")
@click.option("--events", default=1_500_000, show_default=True, help="events to fold")
@click.option("--hosts", default=1_000_000, show_default=True)
@click.option("--versions", default=150, show_default=True, help="live update versions")
@click.option("--seconds", default=150.0, show_default=True, help="event time that the events span")
@click.option("--seed", default=1, show_default=True)
@broker_option
@click.option("--json", "as_json", is_flag=True, help="one JSON object on standard output")
def command(
    events: int, hosts: int, versions: int, seconds: float, seed: int, broker: BrokerKind, as_json: bool
) -> None:
    """Events per CPU-second of the combiner.

    On Apache Kafka all events wait on the topic beforehand; on the embedded broker, which hands over all that waits at
    once, never more than 200,000. The combiner's CPU time is what the kernel accounts to the process when it exits (all
    threads, librdkafka's included) less what it had used when it was ready to read. A plain consumer loop over the same
    events is the yardstick for machine and broker.
    """
    figures = measure(EventLoad(events, hosts, versions, seconds, wall_clock_ms(), seed), broker)
    if as_json:
        click.echo(json.dumps(figures))
        return
    for name, value in figures.items():
        click.echo(f"{name:24} {value}")
