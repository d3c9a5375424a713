"""`andon backup restore`: all of it is read, unsealed and looked at before anything is touched; what is touched then is
put back as it was when a later step fails."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from consumers.clickhouse.archive.config import GROUP as ARCHIVE
from pipeline.backup.cluster import Cluster
from pipeline.backup.database import Database
from pipeline.backup.fleets import Anew
from pipeline.backup.manifest import Manifest
from pipeline.backup.opened import Opened, require_whole
from pipeline.backup.places import Staged
from pipeline.backup.report import KafkaFate, Report, lost_to_retention, lost_with_kafka
from pipeline.backup.store import Store, require_space
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError


class Target(NamedTuple):
    """Where it is restored to. `root`: what stands before the paths of files; `lifetime_ms` of a halt without renewal;
    `replication` of topics that are made, -1 for the cluster's default."""

    database: Database
    cluster: Cluster
    root: Path
    lifetime_ms: int
    replication: int


class Restore:
    """One backup into one place."""

    def __init__(self, manifest: Manifest, store: Store, identities: list[Any], target: Target) -> None:
        self._manifest, self._store, self._target = manifest, store, target
        self._identities = identities
        self._seconds: dict[str, float] = {}

    def run(self, kafka: KafkaFate) -> Report:
        """All of it.

        Raises:
            AndonError: when the backup is not whole or not ours to open, when the place is used, or when something
                fails on the way; then everything is as it was.
        """
        manifest, target = self._manifest, self._target
        with self._step("verify"):
            require_whole(manifest, self._store)
        self._require_unused(kafka)
        size = sum(piece.plain_bytes for piece in manifest.pieces)
        with tempfile.TemporaryDirectory(prefix="andon-restore-") as scratch, ExitStack() as undo:
            opened = Opened(self._store, self._identities, Path(scratch))
            with self._step("unseal"):
                staged = Staged.of(opened, manifest, Path(scratch), target.root)
                undo.callback(target.database.clear, manifest.id)  # also when all went well
                self._unseal_tables(opened)
                anew = Anew.read(opened, manifest, staged.keys_dir) if kafka == "lost" else None
            with self._step("clickhouse"):
                target.database.restore(manifest.id)
            with ExitStack() as back:
                back.callback(target.database.drop)
                with self._step("files"):
                    staged.place(back)
                with self._step("kafka"):
                    report = self._kafka(anew, back)
                back.pop_all()
        return msgspec.structs.replace(
            report,
            rows=manifest.rows,
            files=len(staged.names),
            plain_bytes=size,
            seconds={name: round(spent, 3) for name, spent in self._seconds.items()},
        )

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._seconds[name] = time.monotonic() - started

    # -- before anything is touched

    def _require_unused(self, kafka: KafkaFate) -> None:
        database, manifest = self._target.database, self._manifest
        if database.name != manifest.database:
            raise AndonError(
                f"the backup is of the database {manifest.database}: clickhouse.database = {database.name!r}"
            )
        if database.is_used():
            raise AndonError(
                f"ClickHouse has a database {database.name} that holds tables: a restore is into an empty place, "
                "and what is there is for you to drop or rename"
            )
        if kafka == "lost":
            self._target.cluster.require_unused(manifest.topics)
        else:
            self._target.cluster.require_left(ARCHIVE, [(log.topic, log.partition) for log in manifest.archived])
            self._lows()

    def _unseal_tables(self, opened: Opened) -> None:
        pieces, folder = self._manifest.of_kind("schema", "part"), self._target.database.folder(self._manifest.id)
        tables_bytes = sum(piece.plain_bytes for piece in pieces)
        require_space(folder, 2 * tables_bytes, "ClickHouse's data, here and in its tables,")
        self._target.database.clear(self._manifest.id)  # what a restore that was killed has left
        for piece in pieces:
            opened.files(piece, folder if piece.kind == "schema" else folder / piece.name)

    def _lows(self) -> dict[tuple[str, int], int]:
        """Where the logs begin by now that the archive is to read again.

        Raises:
            AndonError: when they are not those of the backup.
        """
        archived = {(log.topic, log.partition): log for log in self._manifest.archived}
        held = self._target.cluster.held({topic for topic, _ in archived})
        for place, log in archived.items():
            end = held[place].end if place in held else None
            if end is None or end < log.offset:
                what = "is not there" if end is None else f"ends at {end}"
                raise AndonError(
                    f"{log.topic}[{log.partition}] {what}, and the archive had stored it up to {log.offset} when the "
                    "backup was made: this is not that Kafka, or it has lost what it had. --kafka lost is for a new one"
                )
        return {place: each.start for place, each in held.items()}

    # -- Kafka

    def _kafka(self, anew: "Anew | None", back: ExitStack) -> Report:
        manifest, cluster, now_ms = self._manifest, self._target.cluster, wall_clock_ms()
        if anew is None:
            lows = self._lows()
            places = {(log.topic, log.partition): log.offset for log in manifest.archived}
            cluster.take_place(ARCHIVE, {place: max(offset, lows[place]) for place, offset in places.items()})
            gone = lost_to_retention(manifest, lows, now_ms)
            return Report(backup=manifest.id, began_at=manifest.began_at, kafka="survived", lost=gone)
        back.callback(cluster.delete, made := list[str]())
        made += cluster.make(manifest.topics, self._target.replication)
        raised = anew.put(cluster, now_ms, self._target.lifetime_ms)
        return Report(
            backup=manifest.id,
            began_at=manifest.began_at,
            kafka="lost",
            raised=raised,
            resumed=anew.resumed,
            doubtful=anew.doubtful,
            commands=anew.commands,
            audit=anew.audit(),
            lost=lost_with_kafka(manifest, now_ms),
        )
