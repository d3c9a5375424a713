"""The yardstick for the combiner: a plain consumer loop, as one would write it in ten minutes. Run as a module.

It decodes each event with msgspec and counts by update, ring and minute: no checks, no exposure, no transactions. What
it makes of this machine and this broker says what the combiner's figure is worth.
"""

import json
import os
import sys
from collections import Counter

import msgspec
from confluent_kafka import Consumer

from pipeline.runtime.kafka import KafkaConfig, consumer_config
from pipeline.wire import topics

NAME = "andon-bench-plain"
_AT_ONCE = 2_048
_WAIT_SECONDS = 1.0


class _Update(msgspec.Struct, frozen=True, gc=False):
    vendor: str
    product: str
    version: str
    installed_at: int


class _Event(msgspec.Struct, frozen=True, gc=False):
    id: str
    kind: str
    fleet: str
    host: str
    ts: int
    ring: str
    os: str
    model: str
    updates: list[_Update]


def main(bootstrap_servers: str, expected: int) -> None:
    """Print CPU seconds (all threads) for `expected` events that wait on the topic."""
    decode = msgspec.json.Decoder(_Event).decode
    consumer = Consumer(consumer_config(KafkaConfig(bootstrap_servers=bootstrap_servers), NAME, NAME, NAME))
    consumer.subscribe([topics.EVENTS.name])
    counts: Counter[tuple[str, str, str, str, int]] = Counter()
    read, started = 0, os.times()
    while read < expected:
        messages = consumer.consume(_AT_ONCE, _WAIT_SECONDS)
        read += len(messages)
        for message in messages:
            event = decode(message.value() or b"")
            minute = event.ts // 60_000
            for update in event.updates:
                counts[update.vendor, update.product, update.version, event.ring, minute] += 1
    used = os.times()
    consumer.close()
    print(json.dumps({"cpu_seconds": used.user + used.system - started.user - started.system, "keys": len(counts)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
