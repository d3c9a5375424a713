"""An operator's command on its way: signed, sent, and answered within a time."""

from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.halt.approval import SignedCommand as SignedCommand  # for who orders
from pipeline.halt.approval import believed_command
from pipeline.halt.believe import TrustedKeys, believed_entry
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.ledger import halt_of as halt_of
from pipeline.halt.signing import SigningKey, load_private
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.runtime.topic_reader import TopicReader, meaning
from pipeline.runtime.waiting import Deadline
from pipeline.wire import topics
from pipeline.wire.audit import AuditEntry
from pipeline.wire.commands import Command, decode_command, encode_command

CLIENT = "andon-halts"
SETTINGS = {"fetch.wait.max.ms": 50, "fetch.queue.backoff.ms": 2}
POLL_SECONDS = 0.2
READ_SECONDS = 8.0


class Signer(NamedTuple):
    """An operator: the key, and the name that it stands under in the directory of trust."""

    key: SigningKey
    name: str


def signer(key_file: Path, trusted: TrustedKeys) -> Signer:
    """Whose private key this is.

    Raises:
        ConfigError: when others may read it, or it is no trusted operator's: the correlator would not believe it.
    """
    key = load_private(key_file)
    known = trusted.get(key.kid)
    if known is None:
        raise ConfigError(f"{key_file} holds the key {key.kid}, whose public half is not in the directory of trust")
    if known.role != "operator":
        raise ConfigError(f"{key_file} holds a {known.role}'s key: only an operator's signs commands")
    return Signer(key, known.name)


def find_command(kafka: KafkaConfig, trusted: TrustedKeys, fleet: str, id: str) -> SignedCommand:
    """The newest command of this fleet with this id that a trusted operator signed.

    Raises:
        AndonError: when there is none, or the topic cannot be read in time.
    """
    found: SignedCommand | None = None
    with TopicReader(kafka, CLIENT, settings=SETTINGS) as reader:
        reader.start(reader.held(kafka.topic_prefix + topics.COMMANDS.name))
        for messages in reader.to_end(READ_SECONDS):
            for message in messages:
                try:
                    signed = believed_command(_key(message), message.value() or b"", trusted)
                except UntrustedRecord:
                    continue
                if (signed.command.fleet, signed.command.id) == (fleet, id):
                    found = signed
    if found is None:
        raise AndonError(f"no proposal {id!r} of fleet {fleet!r} that a trusted operator signed is on fleet.commands")
    return found


def send(kafka: KafkaConfig, trusted: TrustedKeys, signed: Command, seconds: float) -> AuditEntry | None:
    """Send a signed command and wait so long for its answer; None when none came.

    Raises:
        AndonError: when Kafka does not take it, or its answer cannot be read.
    """
    deadline = Deadline(seconds)
    with TopicReader(kafka, CLIENT, settings=SETTINGS) as reader:
        ends = reader.held(kafka.topic_prefix + topics.AUDIT.name)
        _produce(kafka, signed)
        reader.start([each._replace(start=each.end or 0, end=None) for each in ends])
        while not deadline.has_passed:
            for message in reader.poll(POLL_SECONDS):
                entry = _entry(message, trusted)
                if entry is not None and _answers(entry, signed):
                    return entry
    return None


def _produce(kafka: KafkaConfig, signed: Command) -> None:
    failed: list[str] = []

    def told(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(meaning(error))

    # Not idempotent: its id makes it so, and who may not write would be told by a fatal error of the client.
    producer = Producer(producer_config(kafka, CLIENT, **{"message.timeout.ms": 10_000, "enable.idempotence": False}))
    topic = kafka.topic_prefix + topics.COMMANDS.name
    try:
        producer.produce(topic, encode_command(signed), signed.key.encode(), on_delivery=told)
        left = producer.flush(15.0)
    except (KafkaException, BufferError) as error:
        raise AndonError(f"the command was not sent to {topic}: {meaning(error)}") from None
    if left or failed:
        raise AndonError(f"the command was not sent to {topic}: {failed[0] if failed else 'no broker took it in time'}")


def _entry(message: Message, trusted: TrustedKeys) -> AuditEntry | None:
    try:
        return believed_entry(_key(message), message.value() or b"", trusted)
    except UntrustedRecord:
        return None


def _answers(entry: AuditEntry, signed: Command) -> bool:
    return bool(entry.command) and decode_command(entry.command.encode()).sig == signed.sig


def _key(message: Message) -> bytes | None:
    key = message.key()
    return key.encode() if isinstance(key, str) else key
