"""What `andon bench rollout` puts on the topics: records as a correlator signs them."""

from collections.abc import Sequence

from confluent_kafka import Producer

from pipeline.halt.signing import SigningKey
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.wire import topics
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


def put(producer: Producer, kafka: KafkaConfig, records: Sequence[Halt | FleetHeartbeat]) -> None:
    """Acknowledged when it returns.

    Raises:
        AndonError: when that does not come.
    """
    for record in records:
        if isinstance(record, Halt):
            producer.produce(kafka.topic_prefix + topics.HALTS.name, encode_halt(record), record.key)
        else:
            producer.produce(kafka.topic_prefix + topics.VERDICTS.name, encode_verdict(record), record.key)
        producer.poll(0)
    if producer.flush(WAIT_SECONDS):
        raise AndonError("the broker does not take the bench's halts")
