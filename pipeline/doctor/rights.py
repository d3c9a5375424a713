"""What each stage must be allowed on a cluster with ACLs, and whether this account is. Nothing is written."""

import asyncio
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import GroupCoordinatorNotAvailableError, TransactionalIdAuthorizationFailed
from aiokafka.errors import KafkaError as AioKafkaError
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient  # type: ignore[attr-defined]

from consumers.clickhouse.archive import config as archive
from consumers.deadletter import retry as deadletter_retry
from consumers.deadletter import topic as deadletter
from pipeline.access.roles import Kind, Role, rights_of, shipped
from pipeline.combine import config as combine
from pipeline.correlate import config as correlate
from pipeline.doctor.finding import ANSWER_SECONDS, Finding, ok, problem, unchecked, warning
from pipeline.doctor.wire_client import wire_client
from pipeline.runtime.kafka import KafkaConfig
from pipeline.wire import topics

CHECK = "kafka permissions"
CHANGELOG = f"{correlate.GROUP}-state-changelog"
DENIED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


class Resource(NamedTuple):
    """What an ACL is about; names without `topic_prefix`."""

    kind: Kind
    name: str


Right = tuple[Resource, AclOperation]
# What an account may do; None: nobody can tell.
Allowed = Mapping[Resource, Collection[AclOperation] | None]


# What is there for names that a role has a whole range of.
KNOWN: dict[Kind, tuple[str, ...]] = {
    "topic": tuple(topic.name for topic in topics.ALL),
    "group": (combine.GROUP, correlate.GROUP, archive.GROUP, deadletter.GROUP),
    "transactional id": (combine.CombineConfig().identity, deadletter_retry.RETRY_ID),
}


def _needs(role: Role) -> list[Right]:
    """What an account of the role has to have. Who runs `correlate` may also create its changelog; once that is there,
    it need not."""
    found = [
        (Resource(right.kind, name), AclOperation[right.operation.upper()])
        for right in rights_of(role)
        for name in (list(filter(right.is_about, KNOWN[right.kind])) if right.is_prefix else [right.name])
        or [right.name]
    ]
    return [right for right in found if right != (Resource("topic", CHANGELOG), AclOperation.CREATE)]


# By role: what deploy/acls.toml has `andon topics apply --acls` grant.
NEEDS: dict[str, list[Right]] = {name: _needs(role) for name, role in shipped().items()}
RESOURCES = list(dict.fromkeys(resource for rights in NEEDS.values() for resource, _ in rights))


def ask(kafka: KafkaConfig, admin: AdminClient) -> Allowed:
    """What this account may do with everything that a stage needs."""
    names: dict[str, dict[str, Resource]] = {}
    for resource in RESOURCES:
        names.setdefault(resource.kind, {})[kafka.topic_prefix + resource.name] = resource
    asked: dict[str, Future[Any]] = admin.describe_topics(
        TopicCollection(list(names["topic"])), include_authorized_operations=True, request_timeout=ANSWER_SECONDS
    ) | admin.describe_consumer_groups(
        list(names["group"]), include_authorized_operations=True, request_timeout=ANSWER_SECONDS
    )
    known = names["topic"] | names["group"]
    allowed = {known[name]: _operations(future) for name, future in asked.items()}
    may_find = asyncio.run(_find_transactions(kafka, list(names["transactional id"])))
    return allowed | {names["transactional id"][name]: operations for name, operations in may_find.items()}


def _operations(future: "Future[Any]") -> Collection[AclOperation] | None:
    try:
        found: Collection[AclOperation] | None = future.result(ANSWER_SECONDS).authorized_operations
        return found
    except (KafkaException, FutureTimeoutError) as error:
        return [] if isinstance(error, KafkaException) and error.args[0].code() in DENIED else None


async def _find_transactions(kafka: KafkaConfig, names: list[str]) -> dict[str, Collection[AclOperation] | None]:
    """Looking for an id's coordinator takes DESCRIBE, which WRITE brings with it. What takes WRITE itself would throw
    out the combiner that runs under the id, and librdkafka looks for no other purpose."""
    client = wire_client(kafka)
    found: dict[str, Collection[AclOperation] | None] = dict.fromkeys(names)
    try:
        await client.bootstrap()
        for name in names:
            found[name] = await _find(client, name)
    except (AioKafkaError, OSError):
        pass  # nobody can tell, then
    finally:
        await client.close()
    return found


async def _find(client: AIOKafkaClient, name: str) -> Collection[AclOperation] | None:
    try:
        await client.coordinator_lookup(CoordinationType.TRANSACTION, name)
    except TransactionalIdAuthorizationFailed:
        return []
    except GroupCoordinatorNotAvailableError:
        pass  # this cluster has had no transaction yet; rights are asked for first
    except AioKafkaError:
        return None
    return [AclOperation.WRITE]


def may(allowed: Allowed, resource: Resource, operation: AclOperation) -> bool | None:
    """None: nobody can tell."""
    operations = allowed.get(resource)
    return None if operations is None else operation in operations


def lacking(allowed: Allowed, stage: str) -> list[str]:
    """The rights that the account has not and the stage needs, in words."""
    return [
        f"{operation.name} {resource.name if resource.kind == 'topic' else ' '.join(resource)}"
        for resource, operation in NEEDS[stage]
        if may(allowed, resource, operation) is False
    ]


def permission_finding(allowed: Allowed, stage: str | None) -> Finding:
    """Whether the account may run the stage, or, of none in particular, which of them."""
    advice = "`andon topics apply --acls` grants it (deploy/acls.toml), or ask as the account that runs it"
    stages = [stage] if stage else list(NEEDS)
    lacks = {name: rights for name in stages if (rights := lacking(allowed, name))}
    if not lacks:
        return _nothing_lacks(allowed, stages)
    wanting = "; ".join(f"{name} lacks {', '.join(rights)}" for name, rights in lacks.items())
    rest = [name for name in stages if name not in lacks]
    unsure = [name for name in rest if _untold(allowed, [name])]
    if unsure:
        names = ", ".join(resource.name for resource in _untold(allowed, unsure))
        wanting += f"; {', '.join(unsure)} may lack rights on what is not there yet or not told: {names}"
    if able := ", ".join(name for name in rest if name not in unsure):
        words = f"this account may run {able}{'' if unsure else ', and no other'}: {wanting}"
        return warning(CHECK, words, "fine if it is to run no other; --as STAGE asks for one")
    if unsure:
        return unchecked(CHECK, f"the broker does not tell which stages this account may run: {wanting}")
    return problem(CHECK, f"this account may not run {'it' if stage else 'any stage'}: {wanting}", advice)


def _untold(allowed: Allowed, stages: list[str]) -> list[Resource]:
    needed = dict.fromkeys(resource for stage in stages for resource, _ in NEEDS[stage])
    return [resource for resource in needed if allowed.get(resource) is None]


def _nothing_lacks(allowed: Allowed, stages: list[str]) -> Finding:
    untold = _untold(allowed, stages)
    needed = [resource for stage in stages for resource, _ in NEEDS[stage]]
    if all(resource in untold for resource in needed if resource.kind == "topic"):
        return unchecked(CHECK, "the broker does not tell what this account may do")
    may_run = f"this account may run {stages[0] if len(stages) == 1 else 'every stage'}"
    if untold:
        names = ", ".join(resource.name for resource in untold)
        return unchecked(CHECK, f"{may_run}, unless it lacks rights on what is not there yet or not told: {names}")
    return ok(CHECK, may_run)
