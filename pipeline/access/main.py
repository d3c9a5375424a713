"""`andon topics`: create or verify the topics of a cluster, and grant who may do what with them."""

from pathlib import Path

import click

from pipeline.access import acls
from pipeline.access.roles import Roles, grants_of, read_roles
from pipeline.runtime import topic_admin
from pipeline.runtime.config import configured
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.say import say
from pipeline.runtime.topic_admin import Applied
from pipeline.wire.topics import ALL


@click.group()
def command() -> None:
    """Create or verify the topics of a cluster."""


@command.command("apply")
@click.option("--dry-run", is_flag=True, help="Only say what is missing or differs.")
@click.option("--fix", is_flag=True, help="Alter settings that differ, and add partitions.")
@click.option(
    "--replication",
    type=click.IntRange(min=1),
    help="Replicas of new topics, and what the others have at least [default: the cluster's, not verified].",
)
@click.option(
    "--acls",
    "roles_file",
    type=click.Path(path_type=Path),
    help="Grant what this file says of roles and their users, too (deploy/acls.toml).",
)
@configured(("kafka", KafkaConfig))
def apply_command(
    kafka: KafkaConfig, dry_run: bool, fix: bool, replication: int | None, roles_file: Path | None
) -> None:
    """Create missing topics and verify the others. Exit code 1 when differences remain."""
    roles = None if roles_file is None else read_roles(roles_file)
    applied = topic_admin.apply(kafka, replication=replication or -1, fix=fix, dry_run=dry_run)
    _tell(applied, fix)
    lacking = False if roles is None else _grant(kafka, roles, dry_run)
    if applied.remaining or lacking:
        raise SystemExit(1)


def _tell(applied: Applied, fix: bool) -> None:
    for name in applied.created:
        say(f"created  {name}")
    for difference in applied.fixed:
        say(f"fixed    {difference}")
    for difference in applied.remaining:
        hint = "  (--fix alters it)" if difference.key and difference.fixable and not fix else ""
        say(f"differs  {difference}{hint}")
    for difference in applied.chosen:
        say(f"smaller  {difference}; left as it is")
    if not applied.remaining:
        say(f"{len(ALL)} topics are as they should be")


def _grant(kafka: KafkaConfig, roles: Roles, dry_run: bool) -> bool:
    """Whether something is lacking after all."""
    found = acls.apply(kafka, grants_of(roles, kafka.topic_prefix), dry_run=dry_run)
    for grant in found.granted:
        say(f"granted  {grant}")
    for grant in found.lacking:
        say(f"lacks    {grant}")
    for other in found.beyond:
        say(f"beyond   {other}; left as it is")
    users = len({user for role in roles.values() for user in role.users})
    if not found.lacking:
        more = f"; {len(found.beyond)} rights beyond it" if found.beyond else ""
        say(f"{users} users have what {len(roles)} roles need{more}")
    return bool(found.lacking)


@command.command("list")
@configured(("kafka", KafkaConfig))
def list_command(kafka: KafkaConfig) -> None:
    """Show the topics as defined, and as the cluster has them."""
    found = topic_admin.TopicAdmin(kafka).find(kafka.topic_prefix + topic.name for topic in ALL)
    for topic in ALL:
        name = kafka.topic_prefix + topic.name
        there = found.get(name)
        state = f"{there.partitions} partitions, {there.replicas} replicas" if there else "missing"
        settings = ", ".join(f"{key}={value}" for key, value in topic.config.items())
        say(
            f"{name}: {topic.purpose}; key {topic.key}; {state}\n    defined: {topic.partitions} partitions, {settings}"
        )
