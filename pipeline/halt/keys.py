"""`andon keys`: the keys that sign and are believed, as files. Nothing of a private key is ever printed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import cast, get_args

import click

from pipeline.halt import keyring
from pipeline.halt.believe import Role
from pipeline.halt.keyring import KeyRow, Listing, Made
from pipeline.halt.signing import PRIVATE_NAME, PUBLIC_SUFFIX, REVOKED_SUFFIX
from pipeline.runtime.config import configured
from pipeline.runtime.errors import AndonError, writable
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.say import say, say_json

ROLES = get_args(Role)
NAME_COLUMNS = 18  # what 80 leave for a name
READERS = {
    "detector": "the directory of trust of each that reads halts (andon gate, status, doctor, archive, the SDK)",
    "operator": "the correlator's DATA_DIR/keys, and the directory of trust of each that reads halts",
    "subscriber": "the directories of trust of andon status, halts and archive, and the correlator's DATA_DIR/keys",
    "backup": "the directory of trust of `andon backup`, and to where the age identity is kept, elsewhere",
}
UNBELIEVED = {
    "detector": "halts, resumes, verdicts and heartbeats that it signed. An update whose newest record it signed reads "
    "HALTED until the correlator has signed it anew, with a key that is believed",
    "operator": "commands that it signed, and resumes that carry its signature: those updates read HALTED again",
    "subscriber": "acknowledgements that it signed: its halts count as not acknowledged until it says so again",
    "backup": "backups that it signed: `andon backup` neither restores them nor takes them away",
}

_dir = click.option(
    "--dir", "key_dir", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory of the keys."
)
_role = click.argument("role", type=click.Choice(ROLES))


@click.group()
def command() -> None:
    """Make, list, rotate and revoke the keys that sign, and that are believed."""


@command.command("new")
@_role
@click.argument("name", default="")
@_dir
def new_command(role: str, name: str, key_dir: Path) -> None:
    """Make a first key of NAME. A detector may have no name; DIR is then the correlator's DATA_DIR/keys."""
    with writable("--dir", key_dir):
        made = keyring.make(cast(Role, role), name, key_dir.absolute())
    _tell_made(made)


def _tell_made(made: Made) -> None:
    role = made.row.role
    used = "the correlator signs with it" if role == "detector" else "name it where its owner signs"
    say(f"keep  {made.private}: for its owner alone, on no other machine; {used}")
    say(f"copy  {made.public}: into {READERS[role]}")


@command.command("list")
@_dir
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the table.")
def list_command(key_dir: Path, as_json: bool) -> None:
    """Show the keys of a directory, and what is wrong with it. Exit code 1 when something is."""
    listing = keyring.look(key_dir.absolute())
    say_json(listing) if as_json else _show(listing)
    if listing.problems:
        raise SystemExit(1)


def _show(listing: Listing) -> None:
    width = min(NAME_COLUMNS, max((len(row.name) for row in listing.keys), default=1))
    if listing.keys:
        say(f"{'role':10}  {'name':{width}}  {'key':16}  {'made':10}  state")
    for row in listing.keys:
        name = row.name or "-"
        if len(name) > width:
            say(f"{row.role:10}  {name}")
        role, shown = ("", "") if len(name) > width else (row.role, name)
        say(f"{role:10}  {shown:{width}}  {row.kid}  {_date(row.made_at)}  {_state(row)}")
    if not listing.keys:
        say(f"{listing.dir} holds no key: nothing is believed")
    for problem in listing.problems:
        say(f"problem: {problem}")


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return f"revoked {_date(row.revoked_at)}"
    if row.private_file == keyring.NEXT_NAME:
        return "next to sign"
    return "signs here" if row.private_file in (PRIVATE_NAME, _file_of(row)) else "believed"


def _file_of(row: KeyRow) -> str:
    return f"{row.role}.{row.name}.{row.kid}{keyring.PRIVATE_SUFFIX}"


def _date(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}"


@command.command("rotate")
@_role
@click.argument("name", default="")
@_dir
@click.option("--switch", is_flag=True, help="Of a detector: begin to sign with the next key.")
def rotate_command(role: str, name: str, key_dir: Path, switch: bool) -> None:
    """Make the next key of NAME; the one before it stays believed until it is revoked."""
    place = key_dir.absolute()
    if switch:
        if role != "detector":
            raise click.UsageError(f"--switch is for a detector: {role} {name} signs with the file that is named to it")
        with writable("--dir", key_dir):
            old, new = keyring.switch(place)
        say(f"{new} signs once the correlator is started again, and signs anew what stands: 100 records in 10 s")
        say(f"{old} stays believed; its private half is now {old}{keyring.PRIVATE_SUFFIX}: destroy it when all is well")
        say(_until_unused(old))
        return
    with writable("--dir", key_dir):
        made = keyring.make_next(cast(Role, role), name, place)
    _tell_made(made)
    for old in made.older:
        say(f"{old} stays believed. {_when(made.row.role)}")
        say(_until_unused(old))


def _when(role: Role) -> str:
    how = "`andon keys rotate detector --switch`, same --dir" if role == "detector" else "name its private file instead"
    return f"Once the new one is copied: {how}"


def _until_unused(kid: str) -> str:
    return f"It may be revoked once `andon keys revoke {kid} --dry-run` finds, on your cluster, nothing that it signed"


@command.command("revoke")
@click.argument("kid")
@_dir
@click.option("--dry-run", is_flag=True, help="Only say what would not be believed any more.")
@configured(("kafka", KafkaConfig))
def revoke_command(kid: str, key_dir: Path, dry_run: bool, kafka: KafkaConfig) -> None:
    """Believe the key KID no more, for good. Say what is then not believed; where a Kafka is configured, how much."""
    place = key_dir.absolute()
    with writable("--dir", key_dir):
        row, listing = keyring.revoke(kid, place, dry_run)
    done = "would be revoked" if dry_run else "is revoked"
    if row.revoked_at is not None:
        done = f"was revoked before, on {_date(row.revoked_at)}"
    say(f"{row.role} {row.name or '-'}: {kid} {done} in {place}")
    say(f"not believed any more: {UNBELIEVED[row.role]}")
    left = [other for other in listing.keys if other.role == "detector" and not other.revoked_at and other.kid != kid]
    if row.role == "detector" and not left:
        say("no other detector's key lies there: whoever reads halts by this directory will take everything for halted")
    if row.private_file == PRIVATE_NAME:
        say("the correlator of this directory signs with it, and ends: it starts again with another key only")
    for problem in listing.problems:
        say(f"problem: {problem}")
    _tell_signed(kid, kafka)
    say(f"copy {kid}{REVOKED_SUFFIX} into every other directory that holds {_public(row)}")


def _public(row: KeyRow) -> str:
    return f"{row.role}.{row.name}.{row.kid}{PUBLIC_SUFFIX}" if row.name else f"{row.kid}{PUBLIC_SUFFIX}"


def _tell_signed(kid: str, kafka: KafkaConfig) -> None:
    if kafka == KafkaConfig():
        say("how much of that stands on the topics is not known: --bootstrap-servers names the cluster to look at")
        return
    from pipeline.halt.signed import signed_by  # takes its time: the client

    try:
        found = signed_by(kafka, kid)
    except AndonError as error:
        say(f"how much of that stands on the topics is not known: {error}")
        return
    words = ", ".join(f"{count} on {topic}" for topic, count in found.items() if count)
    say(f"records that it signed, the newest of each key: {words or 'none'}")
