"""`andon bench collect`: batches over HTTP into the gateway, and every id looked for on the topic afterwards."""

import json
import multiprocessing
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import msgspec
from confluent_kafka import libversion
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from pipeline.bench.brokers import python
from pipeline.bench.collect_load import COMPRESS, HttpLoad, Sent, send_all
from pipeline.collect.tokens import add_token
from pipeline.local.kafka.embedded import EmbeddedBroker
from pipeline.local.machine.process import Process, andon
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.kafka import PROMPT, KafkaConfig
from pipeline.runtime.topic_reader import TopicReader
from pipeline.wire import topics

FLEET = "acme"
READ_SECONDS = 60.0
WARM_UP_EVENTS = 20_000
MAX_LINES_PER_SECOND = 1_000_000_000  # no quota: one token sends what a fleet of fleets would
SHARED_MEMORY = Path("/dev/shm")


class OnlyId(msgspec.Struct):
    """All that the comparison needs of an event."""

    id: str


@contextmanager
def gateway(bootstrap_servers: str, tokens_file: Path) -> Iterator[tuple[Process, str]]:
    """Run `andon collect` as its own process: (the process, its address)."""
    words: list[object] = ["--port", "0", "--tokens-file", tokens_file, "--bootstrap-servers", bootstrap_servers]
    words += ["--sender-lines-per-second", MAX_LINES_PER_SECOND]
    log = tokens_file.with_suffix(".log")
    process = Process(andon("collect", *words), log, name="the gateway", ready="listening").start()
    try:
        (port,) = re.findall(r"listening.* port=(\d+)", process.heard())
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.stop()


def ids_on_topic(bootstrap_servers: str) -> Counter[str]:
    """How often each id stands on the events topic."""
    decoder = msgspec.json.Decoder(OnlyId)
    seen: Counter[str] = Counter()
    with TopicReader(KafkaConfig(bootstrap_servers=bootstrap_servers), "bench", settings=PROMPT) as reader:
        reader.start(reader.held(topics.EVENTS.name))
        for messages in reader.to_end(READ_SECONDS):
            seen.update(decoder.decode(message.value() or b"").id for message in messages)
    return seen


def quantile(ordered: list[float], share: float) -> float:
    """Nearest-rank quantile of sorted figures."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def measure(events: int, batch: int, connections: int, encoding: str, seed: int) -> dict[str, Any]:
    """One run, everything started and stopped here."""
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="andon-bench-", dir=memory) as scratch,
        EmbeddedBroker(Path(scratch) / "broker") as broker,
        ProcessPoolExecutor(1, mp_context=spawn) as sender,
    ):
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        wanted = [NewTopic(t.name, t.partitions, 1, config=t.config) for t in (topics.EVENTS, topics.DEADLETTER)]
        for created in admin.create_topics(wanted).values():
            created.result(10)
        tokens_file = Path(scratch) / "tokens.toml"
        token = add_token(tokens_file, FLEET)
        with gateway(broker.bootstrap_servers, tokens_file) as (process, url):
            load = HttpLoad(url, token, FLEET, events, batch, connections, encoding, seed, wall_clock_ms())
            warm = load._replace(events=min(events, WARM_UP_EVENTS), fleet="warm-up")  # refused: leaves no event
            sender.submit(send_all, warm).result()
            before = process.cpu_seconds()
            sent = sender.submit(send_all, load).result()
            used_seconds = process.cpu_seconds() - before
            rss_bytes = process.peak_rss_bytes()
        seen = ids_on_topic(broker.bootstrap_servers)
    figures = report(sent, seen, used_seconds, rss_bytes)
    return figures | {"on": machine(batch=batch, connections=connections, encoding=encoding, seed=seed)}


def report(sent: Sent, seen: Counter[str], used_seconds: float, rss_bytes: int) -> dict[str, Any]:
    """The figures, in the form that every bench has."""
    ordered = sorted(sent.request_seconds)
    return {
        "events": sent.accepted,
        "events_per_second": round(sent.accepted / sent.wall_seconds),
        "events_per_cpu_second": round(sent.accepted / used_seconds),
        "peak_rss_bytes": rss_bytes,
        "p50_seconds": round(quantile(ordered, 0.50), 5),
        "p99_seconds": round(quantile(ordered, 0.99), 5),
        "lost": sent.accepted - len(seen),
        "repeated": seen.total() - len(seen),
        "refused_requests": sent.refused_requests,
        "bytes_per_event": round(sent.body_bytes / max(1, sent.accepted), 1),
    }


def machine(**settings: Any) -> dict[str, Any]:
    """What it ran on."""
    return {
        **python(),
        "aiohttp": version("aiohttp"),
        "librdkafka": libversion()[0],
        "broker": f"noida-db {version('noida-db')}",
        "cpus": os.cpu_count(),
        **settings,
    }


@click.command("collect")
@click.option("--events", default=400_000, show_default=True, help="events to send")
@click.option("--batch", default=200, show_default=True, help="events a request")
@click.option("--connections", default=8, show_default=True, help="keep-alive connections, one request each at a time")
@click.option("--encoding", default="identity", show_default=True, type=click.Choice(list(COMPRESS)))
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="one JSON object on standard output")
def command(events: int, batch: int, connections: int, encoding: str, seed: int, as_json: bool) -> None:
    """Events per second through the HTTP gateway, each acknowledged by the broker before its request is answered."""
    figures = measure(events, batch, connections, encoding, seed)
    if as_json:
        click.echo(json.dumps(figures))
        return
    for name, value in figures.items():
        click.echo(f"{name:24} {value}")
