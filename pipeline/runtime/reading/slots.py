"""Two processes of one slot: whoever is thrown out says which slot it was, and who has it."""

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.runtime.errors import ConfigError, FatalStageError
from pipeline.runtime.kafka import KafkaConfig, client_config

ASK_SECONDS = 5.0


@contextmanager
def one_process(kafka: KafkaConfig, group: str, slot: str | int) -> Iterator[None]:
    """A stage's life in its slot. When Kafka has given that to another process, which it says in its own words, the
    error that ends this one says it in ours.

    Raises:
        FatalStageError: as what is inside does.
    """
    try:
        yield
    except FatalStageError as error:
        if not is_fenced(str(error)):
            raise
        raise taken(kafka, group, slot, error) from error


def taken(kafka: KafkaConfig, group: str, slot: str | int, error: Exception) -> FatalStageError:
    """What ends a process that an `error` has told that its slot is another's. Asks Kafka who that is."""
    return FatalStageError(
        f"slot {slot} is taken: {holder(kafka, group, slot)}. A slot is one process's, so the two would throw each "
        f"other out for ever: stop one of them, or give it another --slot ({error})"
    )


def is_fenced(words: str) -> bool:
    """Whether a client's words say that its place is another's; a partition's leader may be fenced, too."""
    found = words.lower()
    return "fenced" in found and "leader" not in found


def holder(kafka: KafkaConfig, group: str, slot: str | int) -> str:
    """Who is the group's member of that slot now, as far as Kafka tells."""
    name, instance = kafka.topic_prefix + group, f"{group}-{slot}"
    try:
        admin = AdminClient(client_config(kafka, "andon-slot"))
        asked = admin.describe_consumer_groups([name], request_timeout=ASK_SECONDS)
        found = asked[name].result(2 * ASK_SECONDS)
    except (KafkaException, ConfigError, TimeoutError) as error:
        return f"another process is member {instance} of group {name} (which one cannot be asked: {error})"
    for member in found.members:
        if member.group_instance_id == instance:
            return f"the process at {member.host.lstrip('/')} is member {instance} of group {name}"
    return f"another process was member {instance} of group {name}, and has left it meanwhile"
