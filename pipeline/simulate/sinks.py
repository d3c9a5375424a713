"""Where simulated events go: a Kafka cluster, with back-pressure, or an NDJSON file."""

import gzip
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, cast

import zstandard
from confluent_kafka import Producer

from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.runtime.kafka_log import Errors, meaning
from pipeline.runtime.metadata import list_topics
from pipeline.runtime.waiting import Deadline
from pipeline.wire import topics

FLUSH_SECONDS = 60.0
FULL_SECONDS = 30.0  # the queue has not moved for so long: the broker is gone
POLL_SECONDS = 0.05
LINGER_MS = 5


class Sink(Protocol):
    """Takes events in order."""

    def send(self, key: bytes, value: bytes) -> None:
        """Hand over one event; waits while the sink is full."""

    def serve(self) -> None:
        """Called now and then: report failures."""

    def settle(self) -> None:
        """Return when everything sent has arrived."""


class KafkaSink:
    """Produces to `fleet.events`, keyed by host. The producer's own bounded queue is the buffer.

    Raises:
        AndonError: when no broker answers.
    """

    def __init__(self, config: KafkaConfig) -> None:
        failures: list[str] = []
        more = {
            "linger.ms": LINGER_MS,
            "delivery.report.only.error": True,
            "enable.idempotence": False,  # events have ids; and who may not write is told so, not by a fatal error
            # Not a method: it would tie this object and the client into a cycle, and the client would outlive its use.
            "on_delivery": lambda error, _message: failures.append(meaning(error)),
        }
        self._failures, self._errors = failures, Errors()
        self._producer = Producer(producer_config(config, "andon-replay", **more, **self._errors.settings))
        self._topic = config.topic_prefix + topics.EVENTS.name
        list_topics(self._producer, self._errors, config)  # before the first event, not half a minute after it

    def send(self, key: bytes, value: bytes) -> None:
        """Raises AndonError when the broker has refused an event, or takes none."""
        deadline: Deadline | None = None
        while True:
            try:
                self._producer.produce(self._topic, value, key)
                return
            except BufferError:
                deadline = deadline or Deadline(FULL_SECONDS)
                self._producer.poll(POLL_SECONDS)
                self._check(deadline.has_passed)

    def serve(self) -> None:
        """Raises AndonError when the broker has refused an event."""
        self._producer.poll(0)
        self._check(False)

    def settle(self) -> None:
        """Raises AndonError when not everything was acknowledged."""
        left = self._producer.flush(FLUSH_SECONDS)
        self._check(left > 0)

    def _check(self, is_stuck: bool) -> None:
        if self._failures or is_stuck:
            why = self._failures[0] if self._failures else "no acknowledgement in time"
            reason = self._errors.why("", self._producer.poll)
            raise AndonError(f"Kafka does not take the events: {'; '.join(filter(None, (why, reason)))}")


class FileSink:
    """NDJSON, compressed as the name ends: .gz, .zst, or not at all. A context manager.

    A new file, unless `force`: what is there stays, and no link is followed, a dangling one neither.
    """

    def __init__(self, path: Path, force: bool = False) -> None:
        self._path = path
        try:
            self._raw: IO[bytes] = path.open("wb" if force else "xb")
        except FileExistsError:
            raise ConfigError(f"--out {path}: exists; name another file, or --force to write over it") from None
        except OSError as error:
            why = f"--out = {str(path)!r}: {error.strerror or error}"
            raise ConfigError(f"{why}; it must be a file in a directory that is there and writable") from None
        if path.suffix == ".gz":
            # An empty name and no time in the header: the same run gives the same bytes.
            self._file = cast(IO[bytes], gzip.GzipFile("", "wb", compresslevel=3, fileobj=self._raw, mtime=0))
        elif path.suffix == ".zst":
            self._file = cast(IO[bytes], zstandard.open(self._raw, "wb"))
        else:
            self._file = self._raw

    def send(self, key: bytes, value: bytes) -> None:
        """Append a line; the key stands inside it as `host`."""
        try:
            self._file.write(value + b"\n")
        except OSError as error:
            raise self._cut_off(error) from None

    def serve(self) -> None:
        """Nothing to do."""

    def settle(self) -> None:
        """Write what is buffered."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._cut_off(error) from None

    def _cut_off(self, error: OSError) -> AndonError:
        return AndonError(f"--out {self._path}: {error.strerror or error}; what stands there is not all")

    def __enter__(self) -> "FileSink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            self._raw.close()
        except OSError as failed:
            raise self._cut_off(failed) from None
