"""`andon status`: rates, lag, verdicts and halts, live; of the local line, or of any cluster."""

import sys
import time
from pathlib import Path
from typing import Annotated

import click
import msgspec
from click.core import ParameterSource
from rich.console import Console
from rich.live import Live

from pipeline.local import datadir, stack
from pipeline.local.stack import StackInfo
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.config import configured
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.status import snapshot
from pipeline.status.snapshot import Snapshot
from pipeline.status.sources import Cluster, Compacted, Offsets, Usage, usage
from pipeline.status.view import Screen
from pipeline.wire import topics
from pipeline.wire.halts import Halt, decode_halt
from pipeline.wire.record_keys import HEARTBEAT
from pipeline.wire.verdicts import FleetHeartbeat, Verdict, decode_heartbeat, decode_verdict

Doc = msgspec.Meta
CATCH_UP_SECONDS = 5.0
WIDE_COLUMNS = 200  # of a table that goes into a file


class StatusConfig(msgspec.Struct, frozen=True):
    """Section `status`."""

    interval_seconds: Annotated[float, Doc(ge=0.1, le=60, description="time between refreshes")] = 1.0
    top: Annotated[int, Doc(ge=1, le=1000, description="how many verdicts to show")] = 15


@click.command("status")
@click.option("--once", is_flag=True, help="Print one table and exit.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a refresh instead of the screen.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=datadir.DEFAULT,
    envvar="ANDON_DATA_DIR",
    show_default=True,
    help="Of the local line; not needed with --bootstrap-servers.",
)
@configured(("status", StatusConfig), ("kafka", KafkaConfig))
def command(once: bool, as_json: bool, data_dir: Path, status: StatusConfig, kafka: KafkaConfig) -> None:
    """Show rates, lag, verdicts and halts, live. Exit code 1 when nothing runs."""
    source = click.get_current_context().get_parameter_source("bootstrap_servers")
    local = stack.meant(data_dir.absolute(), kafka, source is ParameterSource.COMMANDLINE)
    watcher = Watcher(kafka, data_dir.absolute() if local else None, status.top)
    try:
        watcher.look()
        time.sleep(status.interval_seconds)  # rates are differences
        if as_json:
            _print_json(watcher, once, status.interval_seconds)
        elif once or not sys.stdout.isatty():
            console = Console(width=None if sys.stdout.isatty() else WIDE_COLUMNS)
            console.print(Screen(watcher.look()))
        else:
            _show(watcher, status.interval_seconds)
    except KeyboardInterrupt:
        pass
    finally:
        watcher.close()


def _print_json(watcher: "Watcher", once: bool, interval_seconds: float) -> None:
    while True:
        click.echo(msgspec.json.encode(watcher.look()))
        if once:
            return
        time.sleep(interval_seconds)


def _show(watcher: "Watcher", interval_seconds: float) -> None:
    with Live(Screen(watcher.look()), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval_seconds)
            live.update(Screen(watcher.look()), refresh=True)


class Watcher:
    """Looks again and again; each look is a Snapshot whose rates go back to the look before."""

    def __init__(self, kafka: KafkaConfig, data_dir: Path | None, top: int) -> None:
        self._data_dir = data_dir
        self._top = top
        info = self._stack()
        if info is not None:
            kafka = KafkaConfig(bootstrap_servers=info.bootstrap_servers)
        self._cluster = Cluster(kafka)
        self._before: Offsets | None = None
        self._usage: dict[int, Usage] = {}
        self._verdicts: Compacted[Verdict | FleetHeartbeat] = Compacted(kafka, topics.VERDICTS, _verdict_record)
        self._halts: Compacted[Halt] = Compacted(kafka, topics.HALTS, lambda _, value: decode_halt(value))

    def _stack(self) -> StackInfo | None:
        if self._data_dir is None:
            return None
        info = stack.running(self._data_dir)
        if info is None and datadir.is_locked(self._data_dir):
            raise AndonError(
                f"the line in {self._data_dir} is starting or stopping: its log is in logs/andon.log there"
            )
        if info is None:
            raise AndonError(
                f"nothing runs in {self._data_dir}: start it with `andon up`, "
                "or name a cluster with --bootstrap-servers"
            )
        return info

    def look(self) -> Snapshot:
        """Raises AndonError when the line or its broker is gone."""
        info = self._stack()
        partitions = self._cluster.partitions()
        offsets = self._cluster.offsets()
        before = self._before or offsets
        self._verdicts.refresh(partitions.get(topics.VERDICTS.name, 0), CATCH_UP_SECONDS)
        self._halts.refresh(partitions.get(topics.HALTS.name, 0), CATCH_UP_SECONDS)
        used = {pid: found for pid in (info.pids.values() if info else ()) if (found := usage(pid))}
        now_ms, seconds = wall_clock_ms(), offsets.at_seconds - before.at_seconds
        verdicts, total = snapshot.top_verdicts(self._verdicts.latest, self._top)
        beats = [record for record in self._verdicts.latest.values() if isinstance(record, FleetHeartbeat)]
        seen = Snapshot(
            at=now_ms,
            bootstrap_servers=self._cluster.bootstrap_servers,
            data_dir=str(self._data_dir or ""),
            stages=snapshot.stage_rows(info, self._usage, used, seconds, now_ms),
            topics_per_second=snapshot.produced_per_second(before, offsets),
            groups=snapshot.group_rows(before, offsets),
            fleets=sorted(beats, key=lambda beat: beat.fleet),
            halts=snapshot.halt_rows(self._halts.latest, now_ms),
            verdicts=verdicts,
            verdicts_total=total,
            problems=self._problems(partitions),
        )
        self._before, self._usage = offsets, used
        return seen

    def _problems(self, partitions: dict[str, int]) -> list[str]:
        missing = [topic.name for topic in topics.ALL if topic.name not in partitions]
        problems = [f"missing topics: {', '.join(missing)}; `andon topics apply` creates them"] if missing else []
        for topic, reader in ((topics.VERDICTS, self._verdicts), (topics.HALTS, self._halts)):
            if reader.unreadable:
                problems.append(f"{topic.name}: {reader.unreadable} records cannot be read")
        return problems

    def close(self) -> None:
        """Leave the cluster."""
        self._verdicts.close()
        self._halts.close()


def _verdict_record(key: bytes, value: bytes) -> Verdict | FleetHeartbeat:
    if key.endswith(b"/-/" + HEARTBEAT.encode()):
        return decode_heartbeat(value)
    return decode_verdict(value)
