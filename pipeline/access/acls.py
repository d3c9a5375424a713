"""Rights on a Kafka that has an authorizer: what is lacking is granted, what is there beyond is told, nothing is taken
away."""

import time
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from pipeline.access.roles import Grant, Kind
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, client_config
from pipeline.runtime.kafka_log import Errors, meaning
from pipeline.runtime.metadata import list_topics
from pipeline.runtime.waiting import Deadline

CALL_SECONDS = 15.0
LOOK_SECONDS = 0.1
ANY_HOST = "*"
KINDS: dict[Kind, ResourceType] = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional id": ResourceType.TRANSACTIONAL_ID,
}
PREFIXED, LITERAL = ResourcePatternType.PREFIXED, ResourcePatternType.LITERAL
WHY = {
    KafkaError.SECURITY_DISABLED: "this cluster asks nobody what they may do: it has no authorizer "
    "(authorizer.class.name); without one, rights hold nobody back",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "this account may not: it takes Describe and Alter on the cluster",
}


class Rights(NamedTuple):
    """What was granted, what is lacking still, and, in words, what else touches the same users and names."""

    granted: list[Grant]
    lacking: list[Grant]
    beyond: list[str]


def apply(kafka: KafkaConfig, wanted: Collection[Grant], *, dry_run: bool = False) -> Rights:
    """Grant what is lacking, unless `dry_run`.

    Raises:
        AndonError: when the cluster cannot be reached, has no authorizer, or refuses.
    """
    errors = Errors()
    admin = AdminClient(client_config(kafka, "andon-acls") | errors.settings)
    list_topics(admin, errors, kafka)  # says why, when nobody answers
    found = _find(admin)
    lacking = _lacking(wanted, found)
    beyond = list(map(_words, _beyond(wanted, found)))
    if dry_run or not lacking:
        return Rights([], lacking, beyond)
    for binding, future in admin.create_acls(list(map(_binding, lacking)), request_timeout=CALL_SECONDS).items():
        _outcome(future, f"grant {_words(binding)}")
    deadline = Deadline(CALL_SECONDS)
    while (still := _lacking(wanted, _find(admin))) and not deadline.has_passed:
        time.sleep(LOOK_SECONDS)  # the brokers learn of it one after another
    return Rights([grant for grant in lacking if grant not in still], still, beyond)


def _find(admin: AdminClient) -> set[AclBinding]:
    any_text: Any = None
    everything = AclBindingFilter(
        ResourceType.ANY,
        any_text,
        ResourcePatternType.ANY,
        any_text,
        any_text,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    return set(_outcome(admin.describe_acls(everything, request_timeout=CALL_SECONDS), "tell the rights of a cluster"))


def _outcome(future: "Future[Any]", what: str) -> Any:
    try:
        return future.result(CALL_SECONDS)
    except KafkaException as exception:
        error = exception.args[0]
        raise AndonError(f"cannot {what}: {WHY.get(error.code()) or meaning(error)}") from None
    except (TimeoutError, FutureTimeoutError):
        raise AndonError(f"cannot {what}: no answer within {CALL_SECONDS:.0f} s") from None


def _binding(grant: Grant) -> AclBinding:
    kind, name, is_prefix, operation = grant.right
    pattern = PREFIXED if is_prefix else LITERAL
    if is_prefix and not name:  # all there are: so Kafka writes it
        name, pattern = "*", LITERAL
    return AclBinding(
        KINDS[kind],
        name,
        pattern,
        f"User:{grant.user}",
        ANY_HOST,
        AclOperation[operation.upper()],
        AclPermissionType.ALLOW,
    )


def _lacking(wanted: Iterable[Grant], found: Collection[AclBinding]) -> list[Grant]:
    return [grant for grant in wanted if _binding(grant) not in found]


def _beyond(wanted: Iterable[Grant], found: Iterable[AclBinding]) -> list[AclBinding]:
    """What nobody here asks for, of the same users or on the same names."""
    asked = set(map(_binding, wanted))
    users = {binding.principal for binding in asked}
    others = [
        other
        for other in found
        if other not in asked and (other.principal in users or any(_overlap(other, each) for each in asked))
    ]
    return sorted(others, key=_words)


def _overlap(one: AclBinding, other: AclBinding) -> bool:
    """Whether there may be something that both are about."""
    if one.restype != other.restype:
        return False
    if "*" in (one.name, other.name) or one.name == other.name:
        return True
    return _begins(one, other.name) or _begins(other, one.name)


def _begins(prefix: AclBinding, name: str) -> bool:
    return bool(prefix.resource_pattern_type == PREFIXED and name.startswith(prefix.name))


def _words(each: AclBinding) -> str:
    binding: Any = each  # its parts may be text or numbers, says its type: not of what a broker tells
    kind = binding.restype.name.lower().replace("_", " ")
    name = binding.name + ("*" if binding.resource_pattern_type == PREFIXED else "")
    host = "" if binding.host == ANY_HOST else f" from {binding.host}"
    denied = " is DENIED" if binding.permission_type == AclPermissionType.DENY else ""
    return f"{binding.principal}{denied} {binding.operation.name.lower()} {kind} {name}{host}"
