"""What `andon bench rollout` puts on the topics: records as a correlator signs them."""

from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import Producer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.halt.signing import PUBLIC_SUFFIX, SigningKey, public_pem, write_new
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.wire import topics
from pipeline.wire.acks import HaltAck, encode_ack
from pipeline.wire.halts import Halt, encode_halt
from pipeline.wire.spans import DAY_MS
from pipeline.wire.verdicts import MAX_STANDING, FleetHeartbeat, StandingHalt, encode_verdict

FLEET, VENDOR, PRODUCT = "bench", "acme", "agent"
WAIT_SECONDS = 120.0  # for what must come


def signed(key: SigningKey, version: str) -> Halt:
    """A halt of this version, in every ring, for a day."""
    now = wall_clock_ms()
    halt = Halt(
        action="halt", fleet=FLEET, vendor=VENDOR, product=PRODUCT, version=version, rings=("*",), epoch=1,
        issued_at=now, expires_at=now + DAY_MS, decided_by="andon", policy="", kid="", reason="a bench", evidence=None,
    )  # fmt: skip
    return key.sign(halt)


def beat(key: SigningKey, standing: list[Halt]) -> FleetHeartbeat:
    """A heartbeat by which all of these stand."""
    now = wall_clock_ms()
    named = tuple(StandingHalt(halt.key, halt.epoch) for halt in standing[:MAX_STANDING])
    record = FleetHeartbeat(
        fleet=FLEET, at=now, stream_time=now, live_updates=1, events=1, offset=1, standing=named,
        standing_total=len(standing),
    )  # fmt: skip
    return key.sign_word(record)


def acknowledged(keys: Path, halt: Halt, subscribers: int) -> list[HaltAck]:
    """By so many subscribers, each with a key of its own that is trusted from now on."""
    found = []
    for number in range(subscribers):
        name, key = f"rollout-{number}", SigningKey(Ed25519PrivateKey.generate())
        public = keys / f"subscriber.{name}.{key.kid}{PUBLIC_SUFFIX}"
        write_new(public, public_pem(key.public), 0o644)
        ack = HaltAck(
            halt_key=halt.key, epoch=halt.epoch, subscriber=name, status="confirmed", at=halt.issued_at + number
        )
        found.append(key.sign_word(ack))
    return found


def put(producer: Producer, kafka: KafkaConfig, records: Sequence[Halt | FleetHeartbeat | HaltAck]) -> None:
    """Acknowledged when it returns.

    Raises:
        AndonError: when that does not come.
    """
    for record in records:
        if isinstance(record, Halt):
            producer.produce(kafka.topic_prefix + topics.HALTS.name, encode_halt(record), record.key)
        elif isinstance(record, HaltAck):
            producer.produce(kafka.topic_prefix + topics.HALT_ACKS.name, encode_ack(record), record.halt_key)
        else:
            producer.produce(kafka.topic_prefix + topics.VERDICTS.name, encode_verdict(record), record.key)
        producer.poll(0)
    if producer.flush(WAIT_SECONDS):
        raise AndonError("the broker does not take the bench's halts")
