"""A group member that waits to be killed: bootstrap, group, instance ("" for a dynamic one), topic, session ms."""

import sys

from confluent_kafka import Consumer

bootstrap, group, instance, topic, session_ms = sys.argv[1:]
settings = {
    "bootstrap.servers": bootstrap,
    "group.id": group,
    "group.protocol": "classic",
    "session.timeout.ms": int(session_ms),
    "heartbeat.interval.ms": min(int(session_ms) // 6, 1_000),
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
}
consumer = Consumer(settings | ({"group.instance.id": instance} if instance else {}))
consumer.subscribe([topic], on_assign=lambda _, places: print(len(places), flush=True))
while True:
    consumer.poll(1.0)
