"""A restore as it is asked for: settings, and the objects that they mean."""

from pathlib import Path
from typing import NamedTuple

from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.backup.cluster import Cluster
from pipeline.backup.config import BackupConfig
from pipeline.backup.database import Database
from pipeline.backup.opened import chosen
from pipeline.backup.report import KafkaFate, Report
from pipeline.backup.restore import Restore, Target
from pipeline.backup.sealed import identities_of
from pipeline.backup.store import Store
from pipeline.halt.verify import TrustedKeys
from pipeline.runtime.kafka import KafkaConfig


class Asked(NamedTuple):
    """See `restore.Target`."""

    backup: BackupConfig
    clickhouse: ClickHouseConfig
    kafka: KafkaConfig
    trusted: TrustedKeys
    identity: Path
    root: Path
    lifetime_ms: int
    replication: int


def restored(asked: Asked, backup_id: str, fate: KafkaFate) -> Report:
    """Restore it.

    Raises:
        AndonError: see `Restore.run`.
    """
    store = Store(asked.backup.store())
    manifest = chosen(store.known(asked.trusted), backup_id)
    database = Database(asked.clickhouse, asked.backup)
    target = Target(database, Cluster(asked.kafka), asked.root, asked.lifetime_ms, asked.replication)
    return Restore(manifest, store, identities_of(asked.identity), target).run(fate)
