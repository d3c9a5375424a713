"""`andon backup verify`."""

import tempfile
from pathlib import Path

import click

from pipeline.backup.config import BackupConfig, trusted_keys
from pipeline.backup.listing import OF_MAKING
from pipeline.backup.store import Store
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.config import configured
from pipeline.runtime.say import say

identity_option = click.option(
    "--identity",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with a secret key of age (`age-keygen`), as one of the recipients'.",
)


@click.command("verify")
@click.argument("backup_id", metavar="ID", default="latest")
@identity_option
@configured(("backup", BackupConfig), ("trust", TrustConfig), unused=OF_MAKING)
def command(backup_id: str, identity: Path | None, backup: BackupConfig, trust: TrustConfig) -> None:
    """Read backup ID (the latest) whole: its signature, and every byte that it needs; with --identity, unseal every
    piece as well. Exit code 1 when it could not be restored."""
    from pipeline.backup.opened import Opened, chosen, require_whole
    from pipeline.backup.sealed import identities_of

    store = Store(backup.store())
    manifest = chosen(store.known(trusted_keys(trust)), backup_id)
    identities = identities_of(identity) if identity is not None else []
    require_whole(manifest, store)
    say(f"{manifest.id}: {len(manifest.objects):,} objects, {manifest.sealed_bytes:,} bytes, all as they were stored")
    if not identities:
        say("not unsealed: --identity names the file of an age identity that can")
        return
    with tempfile.TemporaryDirectory(prefix="andon-verify-") as scratch:
        opened = Opened(store, identities, Path(scratch))
        for piece in manifest.pieces:
            opened.check(piece)
    say(f"{manifest.id}: {len(manifest.pieces):,} pieces unsealed, each as it was sealed")
