"""What a backup is: a signed list of sealed pieces, and of where every log stood. Pure."""

from typing import Literal

import msgspec

from pipeline.halt.verify import TrustedKeys, verify_bytes
from pipeline.wire.canonical import canonical_json

PieceKind = Literal["schema", "part", "records", "files"]


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One sealed object. `name` says what it is of: a path in ClickHouse's own backup, or a topic without its prefix;
    `object` is the SHA-256 of its sealed bytes, under which the store has it; `tag` a keyed hash of what is in it, by
    which the next backup knows that it is there already; `records` of a topic."""

    kind: PieceKind
    name: str
    object: str
    sealed_bytes: int
    plain_bytes: int
    tag: str
    records: int = 0


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """A partition of a topic without its prefix: all before `offset` is in the backup, in the way that its list says;
    the newest of that was appended at `last_at_ms`, 0 when nobody knows."""

    topic: str
    partition: int
    offset: int
    last_at_ms: int


class TopicMade(msgspec.Struct, frozen=True):
    """A topic as it was, its name without prefix."""

    name: str
    partitions: int
    config: dict[str, str]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One backup. Times in unix ms. `began_at` is before, `ended_at` after everything that it holds was read.

    archived: of every topic that the archive reads, what ClickHouse's data includes, at least.
    copied: of every topic that was copied, all of it up to there.
    judged: of the partials, what the detector's state includes.
    rows: by table of ClickHouse.
    """

    v: Literal[1] = 1
    id: str
    began_at: int
    ended_at: int
    version: str  # of Andon
    database: str
    rows: dict[str, int]
    topics: tuple[TopicMade, ...]
    archived: tuple[Log, ...]
    copied: tuple[Log, ...]
    judged: tuple[Log, ...]
    keys_dir: str  # of the correlator, where `files` has it
    recipients: tuple[str, ...]
    pieces: tuple[Piece, ...]
    kid: str = ""
    sig: str = ""

    @property
    def objects(self) -> set[str]:
        """The names of all that it needs."""
        return {piece.object for piece in self.pieces}

    @property
    def sealed_bytes(self) -> int:
        """Of all that it needs, each object once."""
        return sum({piece.object: piece.sealed_bytes for piece in self.pieces}.values())

    def of_kind(self, *kinds: PieceKind) -> list[Piece]:
        """Its pieces of these kinds."""
        return [piece for piece in self.pieces if piece.kind in kinds]


_decoder = msgspec.json.Decoder(Manifest)


def encode(manifest: Manifest) -> bytes:
    """In the form in which it is signed."""
    return canonical_json(msgspec.to_builtins(manifest))


def unsigned(manifest: Manifest) -> bytes:
    """The bytes that are signed."""
    fields = msgspec.to_builtins(manifest)
    del fields["sig"]
    return canonical_json(fields)


def believed(raw: bytes, trusted: TrustedKeys) -> Manifest:
    """A manifest that a trusted key for backups signed.

    Raises:
        UntrustedRecord: with the reason.
        msgspec.DecodeError: when it is none.
    """
    verify_bytes(raw, trusted, "backup")
    return _decoder.decode(raw)
