"""`andon backup list`."""

import click

from pipeline.backup.config import BackupConfig, trusted_keys
from pipeline.backup.report import moment
from pipeline.backup.store import Known, Store
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.config import configured
from pipeline.runtime.say import say, say_json
from pipeline.wire.spans import HOUR_MS

OF_MAKING = ("recipients", "key_file", "paths", "clickhouse_disk", "clickhouse_dir", "keep_daily", "keep_weekly")


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a backup, a line each.")
@click.option("--max-age-hours", type=click.FloatRange(0), help="Fail when the newest good one is older.")
@configured(("backup", BackupConfig), ("trust", TrustConfig), unused=OF_MAKING)
def command(as_json: bool, max_age_hours: float | None, backup: BackupConfig, trust: TrustConfig) -> None:
    """Show every backup. Exit code 1 when one is not believed or lacks objects, or the newest good one is too old."""
    store = Store(backup.store())
    now_ms, newest = wall_clock_ms(), 0
    faults = 0
    for known in store.known(trusted_keys(trust)):
        why = _fault(known, store)
        faults += bool(why)
        if known.manifest is not None and not why:
            newest = known.manifest.ended_at
        _show(known, why, as_json)
    age_hours = (now_ms - newest) / HOUR_MS
    if max_age_hours is not None and (not newest or age_hours > max_age_hours):
        when = f"is {age_hours:.1f} hours old" if newest else "is not there"
        say(f"the newest good backup {when}: at most {max_age_hours:g} hours are allowed", err=True)
        faults += 1
    raise SystemExit(1 if faults else 0)


def _fault(known: Known, store: Store) -> str:
    if known.manifest is None:
        return known.why
    found = (store.why_not(piece.object, piece.sealed_bytes, is_thorough=False) for piece in known.manifest.pieces)
    return next(filter(None, found), "")


def _show(known: Known, why: str, as_json: bool) -> None:
    manifest = known.manifest
    if as_json:
        facts = {} if manifest is None else {
            "began_at": manifest.began_at,
            "ended_at": manifest.ended_at,
            "sealed_bytes": manifest.sealed_bytes,
            "rows": manifest.rows,
            "version": manifest.version,
        }  # fmt: skip
        say_json({"id": known.id, "problem": why, **facts})
        return
    state = f"PROBLEM: {why}" if why else "there"
    if manifest is None:
        say(f"{known.id}  {state}")
        return
    rows = sum(manifest.rows.values())
    say(f"{known.id}  {moment(manifest.began_at)[:19]}  {manifest.sealed_bytes:>15,} bytes  {rows:>13,} rows  {state}")
