"""`andon backup create`."""

import click

from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.backup.config import BackupConfig, kept_paths, keys_dir, listed, signing_key, trusted_keys
from pipeline.backup.store import Store
from pipeline.correlate.config import CorrelateConfig
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.config import configured
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.partials import PartialsConfig
from pipeline.runtime.say import say, say_json

OF_CORRELATE = (
    "slot", "web_host", "web_port", "web_names", "checkpoint_seconds", "heartbeat_seconds", "halt_lifetime_seconds",
)  # fmt: skip
OF_KEEPING = ("keep_daily", "keep_weekly")


@click.command("create")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: the manifest, and what was new.")
@configured(
    ("backup", BackupConfig),
    ("clickhouse", ClickHouseConfig),
    ("kafka", KafkaConfig),
    ("correlate", CorrelateConfig),
    ("trust", TrustConfig),
    ("partials", PartialsConfig),
    unused=(*OF_CORRELATE, *OF_KEEPING, "cluster", "timeout_seconds"),
)
def command(
    as_json: bool,
    backup: BackupConfig,
    clickhouse: ClickHouseConfig,
    kafka: KafkaConfig,
    correlate: CorrelateConfig,
    trust: TrustConfig,
    partials: PartialsConfig,
) -> None:
    """Back up ClickHouse, topics, the detector's state, keys and policies, while all of it runs.

    Sealed to `recipients` (age) and signed; what an earlier backup has is not written again.
    """
    from pipeline.backup.create import create  # here: help does not wait for it
    from pipeline.backup.source import source_of

    trusted = trusted_keys(trust)
    key = signing_key(backup, trust, trusted)
    store = Store(backup.store())
    with store.locked():
        files = kept_paths(backup, correlate, trust, partials)
        with source_of(backup, clickhouse, kafka, keys_dir(correlate), files, listed(backup.recipients)) as source:
            known = [each.manifest for each in store.known(trusted) if each.manifest is not None]
            made = create(source, store, key, known)
    if as_json:
        say_json({"manifest": made.manifest, "new_objects": made.new_objects, "new_bytes": made.new_bytes})
        return
    manifest = made.manifest
    say(f"backup {manifest.id}: {manifest.sealed_bytes:,} bytes, {made.new_bytes:,} of them new")
    records = sum(piece.records for piece in manifest.pieces)
    say(f"  {sum(manifest.rows.values()):,} rows of ClickHouse, {records:,} records of topics, {len(files)} paths")
    say(f"  took {(manifest.ended_at - manifest.began_at) / 1000:.1f} s; verify it with `andon backup verify`")
