"""`andon backup prune`."""

import click

from pipeline.backup.config import BackupConfig, trusted_keys
from pipeline.backup.keeping import keep, unneeded
from pipeline.backup.manifest import Manifest
from pipeline.backup.opened import faults
from pipeline.backup.store import Store
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.config import configured
from pipeline.runtime.errors import AndonError
from pipeline.runtime.say import say, say_json

UNUSED = ("recipients", "key_file", "paths", "clickhouse_disk", "clickhouse_dir")


class _Judge:
    """The newest backups are read whole until one is good; of those before it is looked whether all is there."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._has_found = False

    def __call__(self, manifest: Manifest) -> bool:
        if self._has_found:
            sizes = ((piece.object, piece.sealed_bytes) for piece in manifest.pieces)
            return not any(self._store.why_not(*each, is_thorough=False) for each in sizes)
        self._has_found = not faults(manifest, self._store)
        return self._has_found


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@configured(("backup", BackupConfig), ("trust", TrustConfig), unused=UNUSED)
def command(dry_run: bool, as_json: bool, backup: BackupConfig, trust: TrustConfig) -> None:
    """Keep the newest backup of each of the last days and weeks, and the last good one; take the others away, and what
    only they needed."""
    store = Store(backup.store())
    with store.locked():
        backups = _believed(store, trust)
        decided = keep(backups, backup.keep_daily, backup.keep_weekly, _Judge(store))
        staying = [each for each in backups if each.id in decided.stay]
        removable = unneeded(store.names(), staying)
        freed = sum(store.size(name) for name in removable)
        if not dry_run:
            for gone in decided.go:
                store.drop(gone)
            for name in removable:
                store.remove(name)
    if as_json:
        say_json({"stay": decided.stay, "go": decided.go, "freed_bytes": freed, "dry_run": dry_run})
        return
    for backup_id, why in decided.stay.items():
        say(f"stays  {backup_id}  {why}")
    for backup_id in decided.go:
        say(f"{'would go' if dry_run else 'gone'}  {backup_id}")
    say(f"{freed:,} bytes {'would be' if dry_run else 'are'} free")


def _believed(store: Store, trust: TrustConfig) -> list[Manifest]:
    """All backups.

    Raises:
        AndonError: when one is not believed: nobody knows what it needs, so nothing may go.
    """
    found = []
    for known in store.known(trusted_keys(trust)):
        if known.manifest is None:
            raise AndonError(
                f"backup {known.id}: {known.why}. Nobody knows which objects it needs, so nothing is taken away: look "
                f"at it, and if it is of no use remove {store.directory}/backups/{known.id}.json"
            )
        found.append(known.manifest)
    return found
