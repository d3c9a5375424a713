"""A producer that writes into a transaction and waits to be killed: bootstrap, transactional id, topic, timeout ms."""

import signal
import sys

from confluent_kafka import Producer

bootstrap, transactional_id, topic, timeout_ms = sys.argv[1:]
producer = Producer(
    {
        "bootstrap.servers": bootstrap,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": int(timeout_ms),
        "message.timeout.ms": int(timeout_ms),
    }
)
producer.init_transactions(60)
producer.begin_transaction()
producer.produce(topic, b"never committed")
assert producer.flush(60) == 0
print("written", flush=True)
signal.alarm(300)  # whoever started it may be gone
signal.pause()
