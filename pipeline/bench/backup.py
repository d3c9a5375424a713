"""`andon bench backup`: seconds to back up and to restore so many events with all their aggregates."""

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import click
import pyrage
from clickhouse_connect.driver.client import Client

from consumers.clickhouse.connect import connect
from pipeline.bench.brokers import running
from pipeline.bench.clickhouse import LocalClickHouse, value
from pipeline.bench.queries_load import Plan, fill, generate
from pipeline.halt import keyring
from pipeline.local.machine.process import Process, andon
from pipeline.runtime import topic_admin

LONG_SECONDS = 7200.0
GB = 1e9
SHARED_MEMORY = Path("/dev/shm")
SIZE = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'andon'"
COUNT = "SELECT count() FROM andon.events"


class Vault(NamedTuple):
    """Where everything of the bench is, and options that every command has."""

    directory: Path
    line: LocalClickHouse
    bootstrap_servers: str
    recipient: str
    key: Path

    def run(self, command: str, *words: object) -> tuple[float, float]:
        """`andon backup COMMAND` in a process of its own: wall seconds, and CPU seconds of it.

        Raises:
            AndonError: when it fails.
        """
        argv = andon("backup", command, "--store-dir", self.directory / "store", "--trusted-keys-dir", self.key.parent)
        process = Process([*argv, *map(str, words)], self.directory / "backup.log", self._environ, name=command)
        started, before = time.monotonic(), _ended_cpu_seconds()
        process.start()
        while process.is_running:
            time.sleep(0.02)
        wall = time.monotonic() - started
        if code := process.wait():
            raise click.ClickException(f"andon backup {command} ended with {code}: {process.last_words()}")
        return wall, _ended_cpu_seconds() - before

    @property
    def _environ(self) -> dict[str, str]:
        return {"ANDON_CLICKHOUSE_PASSWORD": self.line.password}

    @property
    def where(self) -> list[object]:
        """Options of those that ask ClickHouse and Kafka."""
        disk = self.line.directory / "clickhouse" / "backups"
        return [
            "--bootstrap-servers",
            self.bootstrap_servers,
            "--clickhouse-url",
            self.line.url,
            "--clickhouse-dir",
            disk,
        ]

    @property
    def making(self) -> list[object]:
        """Options of `create`."""
        own = [
            "--recipients",
            self.recipient,
            "--backup-key-file",
            self.key,
            "--data-dir",
            self.directory / "correlate",
        ]
        return [*self.where, *own]


def _ended_cpu_seconds() -> float:
    """Of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _vault(directory: Path, line: LocalClickHouse, bootstrap_servers: str) -> Vault:
    keyring.make("detector", "", directory / "correlate" / "keys")
    secret = pyrage.x25519.Identity.generate()
    (directory / "identity").write_text(str(secret), "utf-8")
    key = keyring.make("backup", "bench", directory / "trust").private
    return Vault(directory, line, bootstrap_servers, str(secret.to_public()), key)


def measure(plan: Plan) -> dict[str, Any]:
    """One run, everything started and stopped here."""
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="andon-bench-", dir=memory) as scratch,
        running("embedded", Path(scratch) / "broker") as kafka,
        LocalClickHouse(Path(scratch) / "engine") as line,
    ):
        topic_admin.apply(kafka, replication=1)
        vault = _vault(Path(scratch), line, kafka.bootstrap_servers)
        client = connect(line.server, database=line.server.database, timeout_seconds=int(LONG_SECONDS))
        generate(client, plan)
        fill(client, line.server.database)
        data_bytes = value(client, SIZE)
        figures = _figures(plan, vault, client, data_bytes)
        engine = value(client, "SELECT version()")
    return {
        "events": plan.events,
        "data_bytes": data_bytes,
        **figures,
        "on": {
            "clickhouse": f"chdb {version('chdb')} ({engine}), everything on tmpfs",
            "pyrage": version("pyrage"),
            "cpus": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 1),
            **plan._asdict(),
        },
    }


def _figures(plan: Plan, vault: Vault, client: Client, data_bytes: int) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def timed(name: str, act: Callable[[], tuple[float, float]]) -> None:
        wall, cpu = act()
        found[f"{name}_seconds"], found[f"{name}_cpu_seconds"] = round(wall, 1), round(cpu, 1)

    timed("create", lambda: vault.run("create", *vault.making))
    found["sealed_bytes"] = sum(
        path.stat().st_size for path in (vault.directory / "store").rglob("*") if path.is_file()
    )
    client.command(
        f"INSERT INTO events SELECT * REPLACE (concat(id, '-') AS id) FROM events LIMIT {plan.events // 100}"
    )
    timed("create_again", lambda: vault.run("create", *vault.making))
    total = sum(path.stat().st_size for path in (vault.directory / "store").rglob("*") if path.is_file())
    found["sealed_again_bytes"] = total - found["sealed_bytes"]
    identity = ["--identity", vault.directory / "identity"]
    timed("verify", lambda: vault.run("verify", *identity))
    before = value(client, COUNT)
    client.command("DROP DATABASE andon SYNC SETTINGS max_table_size_to_drop = 0")
    root = vault.directory / "root"
    timed("restore", lambda: vault.run("restore", *identity, "--kafka", "survived", "--root", root, *vault.where))
    found["lost_rows"] = before - value(connect(vault.line.server), COUNT)
    for name in ("create", "restore"):
        found[f"{name}_seconds_per_gb"] = round(found[f"{name}_seconds"] / (data_bytes / GB), 1)
    return found


@click.command("backup")
@click.option("--events", default=10_000_000, show_default=True, type=click.IntRange(1000), help="events stored")
@click.option("--hosts", default=50_000, show_default=True, type=click.IntRange(1), help="hosts that report them")
@click.option("--days", default=10, show_default=True, type=click.IntRange(1, 80), help="days that they span")
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="one JSON object on standard output")
def command(events: int, hosts: int, days: int, seed: int, as_json: bool) -> None:
    """Seconds to back up and to restore so many events with all their aggregates, whole and once more after a hundredth
    was added; CPU seconds are those of the command, without ClickHouse's."""
    figures = measure(Plan(events, hosts, days, seed))
    if as_json:
        click.echo(json.dumps(figures))
        return
    for name, figure in figures.items():
        click.echo(f"{name:32} {figure}")
