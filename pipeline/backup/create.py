"""`andon backup create`: everything that Andon needs to be what it was, sealed, and its manifest last.

The order is what makes it exact. First of all stands up to where the archive has stored: ClickHouse's backup, which
comes after, holds all of that, and what it holds beyond is read again after a restore and changes nothing. Then the
state of the detector, then commands, then halts and the audit, which answers all that came before it.
"""

import hashlib
import io
import secrets
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from consumers.clickhouse.archive.config import GROUP as ARCHIVE
from consumers.clickhouse.archive.records import ROUTES
from pipeline import __version__
from pipeline.backup.database import parts_of, rows_of
from pipeline.backup.manifest import Log, Manifest, Piece, PieceKind, encode, unsigned
from pipeline.backup.packed import Flow, packed
from pipeline.backup.records import newest, pack, segments
from pipeline.backup.sealed import Counted, seal
from pipeline.backup.source import Source
from pipeline.backup.store import Store
from pipeline.backup.topics import CHANGELOG, COPIED, NEWEST, Logs
from pipeline.halt.signing import SigningKey
from pipeline.runtime.clock import wall_clock_ms

FILES = "files"
TAG_PURPOSE = b"andon backup: unchanged pieces"


class Made(NamedTuple):
    """A backup, and how much of it had to be written: the rest was in the store."""

    manifest: Manifest
    new_objects: int
    new_bytes: int


def new_id(at_ms: int) -> str:
    """Of a backup; later ones sort behind earlier ones, also of the same second."""
    second = f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y%m%dT%H%M%S}"
    return f"{second}.{at_ms % 1000:03d}Z-{secrets.token_hex(2)}"


def create(source: Source, store: Store, key: SigningKey, known: Iterable[Manifest]) -> Made:
    """One backup. `known`: those that are believed; what they have is not written again.

    Raises:
        AndonError: when something cannot be read or written; then the store holds no such backup.
    """
    began_at = wall_clock_ms()
    name = new_id(began_at)
    sealer = _Sealer(store, source.sealing, key.derived(TAG_PURPOSE), known)
    archived = source.logs.archived(ARCHIVE, tuple(ROUTES))
    folder = source.database.folder(name)
    try:
        folder = source.database.back_up(name)
        rows = rows_of(folder)
        for part in parts_of(folder):
            sealer.add("schema" if part.name == "schema" else "part", part.name, _packed(part.files))
    finally:
        source.database.clear(name)
    copied, judged = _copy_topics(source.logs, sealer)
    sealer.add("files", FILES, _packed(source.files))
    store.settle(sealer.written)
    manifest = Manifest(
        id=name,
        began_at=began_at,
        ended_at=wall_clock_ms(),
        version=__version__,
        database=source.database.name,
        rows=rows,
        topics=tuple(source.logs.made()),
        archived=tuple(archived),
        copied=tuple(copied),
        judged=tuple(judged),
        keys_dir=str(source.keys_dir),
        recipients=source.recipients,
        pieces=tuple(sealer.pieces),
        kid=key.kid,
    )
    manifest = msgspec.structs.replace(manifest, sig=key.sign_bytes(unsigned(manifest)))
    store.add(name, encode(manifest))
    return Made(manifest, len(sealer.written), sealer.written_bytes)


def _packed(files: list[tuple[str, Path]]) -> Callable[[], Flow]:
    return lambda: Flow(packed(files))


def _copy_topics(logs: Logs, sealer: "_Sealer") -> tuple[list[Log], list[Log]]:
    copied: list[Log] = []
    judged: list[Log] = []
    there = {topic.name for topic in logs.made()}
    for topic in filter(there.__contains__, COPIED):
        ends = logs.held(topic)
        records = logs.read(topic, ends)
        if topic in NEWEST:
            records = iter(newest(records))
        if topic == CHANGELOG:
            state = list(records)
            judged = logs.judged(state)
            records = iter(state)
        for segment in segments(records):
            raw = pack(segment)
            sealer.add("records", topic, lambda raw=raw: io.BytesIO(raw), len(segment))  # type: ignore[misc]
        copied += map(logs.dated, ends)
    return copied, judged


class _Sealer:
    """Seals pieces into the store, but for those that it has."""

    def __init__(self, store: Store, recipients: list[Any], tag_key: bytes, known: Iterable[Manifest]) -> None:
        self._store, self._recipients, self._tag_key = store, recipients, tag_key
        self._known = {piece.tag: piece for piece in _pieces(known, store)}
        self.pieces: list[Piece] = []
        self.written: set[str] = set()
        self.written_bytes = 0

    def add(self, kind: PieceKind, name: str, opened: Callable[[], Flow | BinaryIO], records: int = 0) -> None:
        """A piece, which is read twice: first to see whether it is there already."""
        tag, size = _tag(opened(), self._tag_key)
        there = self._known.get(tag)
        if there is None:
            there = self._known[tag] = self._write(kind, name, opened(), tag, size)
        self.pieces.append(msgspec.structs.replace(there, kind=kind, name=name, records=records))

    def _write(self, kind: PieceKind, name: str, plain: Any, tag: str, size: int) -> Piece:
        passed = Counted(plain)
        with self._store.adding() as (sealed, names):
            seal(passed, sealed, self._recipients)
        self.written.update(names)
        self.written_bytes += sealed.bytes
        return Piece(
            kind=kind, name=name, object=names[0], sealed_bytes=sealed.bytes, plain_bytes=passed.bytes, tag=tag
        )


def _pieces(known: Iterable[Manifest], store: Store) -> Iterator[Piece]:
    """Of the backups before, those that the store still has, and that are sealed to whom this one is sealed."""
    for manifest in known:
        for piece in manifest.pieces:
            if not store.why_not(piece.object, piece.sealed_bytes, is_thorough=False):
                yield piece


def _tag(plain: Any, key: bytes) -> tuple[str, int]:
    digest, size = hashlib.blake2b(key=key, digest_size=32), 0
    while block := plain.read(1 << 20):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size
