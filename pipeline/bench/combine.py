"""`andon bench combine`: preloaded events through a combiner in its own process, and every event counted afterwards."""

import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import click
from confluent_kafka import Producer, libversion

from pipeline.bench.brokers import broker_option, described, running
from pipeline.bench.collect import peak_rss_bytes
from pipeline.bench.combine_load import Load, messages
from pipeline.local.kafka.kinds import BrokerKind
from pipeline.runtime import topic_admin
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import PROMPT, KafkaConfig, producer_config
from pipeline.runtime.topic_reader import TopicReader
from pipeline.runtime.waiting import Deadline
from pipeline.wire import topics
from pipeline.wire.partials import decode_partial

RUN_SECONDS = 180.0
SHARED_MEMORY = Path("/dev/shm")


class Read(NamedTuple):
    """What came out: sums over the partials, and the time between the first and the last of them."""

    events: int
    events_after_first: int
    seconds: float
    partials: int
    partial_bytes: int


class Used(NamedTuple):
    """What the combiner's process took. Its CPU time by the kernel's account of it (getrusage on its exit), its peak
    by /proc: getrusage would count what the bench itself held when it started the process."""

    cpu_seconds: float
    start_cpu_seconds: float
    peak_rss_bytes: int


def preload(kafka: KafkaConfig, load: Load) -> int:
    """Put the events on the topic; their bytes."""
    producer = Producer(producer_config(kafka, "bench-load", **{"linger.ms": 20}))
    size = 0
    for key, value in messages(load):
        size += len(value)
        while True:
            try:
                producer.produce(topics.EVENTS.name, value, key)
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(60):
        raise AndonError("the broker did not take the events")
    return size


def read_partials(kafka: KafkaConfig, expected: int) -> Read:
    """Read committed partials until they account for every event, or time is up."""
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
    return Read(events, events - first_events, last_at - first_at, partials, size)


def run_combiner(kafka: KafkaConfig, expected: int, log: Path) -> tuple[Read, Used]:
    """Start a combiner, let it fold everything, stop it."""
    argv = [sys.executable, "-m", "pipeline", "combine", "--bootstrap-servers", kafka.bootstrap_servers]
    with log.open("wb") as stream:
        process = subprocess.Popen(argv, stderr=stream)
    try:
        started = _cpu_when_ready(process, log)
        read = read_partials(kafka, expected)
        peak = peak_rss_bytes(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise AndonError(f"the combiner ended with {process.returncode}: {log.read_text('utf-8')[-2000:]}")
    return read, Used(_seconds(usage), started, peak)


def plain_loop(kafka: KafkaConfig, expected: int) -> float:
    """CPU seconds that the yardstick takes for the same events."""
    argv = [sys.executable, "-m", "pipeline.bench.plain_loop", kafka.bootstrap_servers, str(expected)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=True, timeout=RUN_SECONDS)
    return float(json.loads(done.stdout)["cpu_seconds"])


def _seconds(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _cpu_when_ready(process: subprocess.Popen[bytes], log: Path) -> float:
    """CPU seconds of start-up: imports and connections, before the first message is asked for."""
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        if "ready" in log.read_text("utf-8"):
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        time.sleep(0.002)
    raise AndonError(f"the combiner did not start: {log.read_text('utf-8')[-2000:]}")


def measure(load: Load, kind: BrokerKind) -> dict[str, Any]:
    """One run, everything started and stopped here."""
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="andon-bench-", dir=memory) as scratch,
        running(kind, Path(scratch) / "broker") as kafka,
    ):
        topic_admin.apply(kafka, replication=1)
        size = preload(kafka, load)
        plain_seconds = plain_loop(kafka, load.events)
        read, used = run_combiner(kafka, load.events, Path(scratch) / "combine.log")
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
        "bytes_per_event": round(size / load.events, 1),
        "partials": read.partials,
        "partial_bytes_per_event": round(read.partial_bytes / max(1, read.events), 1),
        "cpu_seconds": round(cpu_seconds, 3),
        "cpu_seconds_of_start": round(used.start_cpu_seconds, 3),
        "on": {
            "python": platform.python_version(),
            "librdkafka": libversion()[0],
            "msgspec": version("msgspec"),
            "numpy": version("numpy"),
            "broker": described(kind),
            "cpus": os.cpu_count(),
            **load._asdict(),
        },
    }


@click.command("combine")
@click.option("--events", default=1_500_000, show_default=True, help="events to preload")
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

    Its CPU time is what the kernel accounts to the process when it exits (all threads, librdkafka's included) less what
    it had used when it was ready to read. A plain consumer loop over the same events is the
    yardstick for machine and broker.
    """
    figures = measure(Load(events, hosts, versions, seconds, wall_clock_ms(), seed), broker)
    if as_json:
        click.echo(json.dumps(figures))
        return
    for name, value in figures.items():
        click.echo(f"{name:24} {value}")
