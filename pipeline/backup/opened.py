"""A backup that is looked at: whether its objects are what was stored, and what is in them."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.backup.manifest import Manifest, Piece
from pipeline.backup.packed import unpacked
from pipeline.backup.records import Copied, unpack
from pipeline.backup.sealed import unseal
from pipeline.backup.store import Known, Store
from pipeline.runtime.errors import AndonError, writable

SHOWN = 5


def chosen(backups: Sequence[Known], wanted: str) -> Manifest:
    """The backup of this id; "latest" is the newest.

    Raises:
        AndonError: when there is none, or it is not believed.
    """
    if not backups:
        raise AndonError("the store holds no backup")
    found = backups[-1] if wanted == "latest" else next((each for each in backups if each.id == wanted), None)
    if found is None:
        ids = ", ".join(each.id for each in backups[-SHOWN:])
        raise AndonError(f"the store holds no backup {wanted!r}; the newest are {ids}")
    if found.manifest is None:
        raise AndonError(f"backup {found.id}: {found.why}")
    return found.manifest


def faults(manifest: Manifest, store: Store) -> list[str]:
    """What is wrong with the objects that a backup needs, all of them read."""
    sizes = {piece.object: piece.sealed_bytes for piece in manifest.pieces}
    return [why for name, size in sorted(sizes.items()) if (why := store.why_not(name, size))]


def require_whole(manifest: Manifest, store: Store) -> None:
    """Raises AndonError for a backup that is not as it was made."""
    if found := faults(manifest, store):
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise AndonError(f"backup {manifest.id} is not whole: {'; '.join(found[:SHOWN])}{more}")


class Opened:
    """Unseals pieces of one backup. In the scratch directory lies what nobody keeps."""

    def __init__(self, store: Store, identities: Sequence[Any], scratch: Path) -> None:
        self._store, self._identities, self._scratch = store, identities, scratch

    def files(self, piece: Piece, folder: Path) -> list[str]:
        """Put a piece's files below a folder; their names.

        Raises:
            AndonError: when it cannot be unsealed, or is not what was sealed.
            ConfigError: when it cannot be written.
        """
        with writable("the directory to unpack to", folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._plain(piece, folder) as plain:
                return unpacked(plain, folder)

    def records(self, piece: Piece) -> list[Copied]:
        """Raises as `files` does."""
        with self._plain(piece, self._scratch) as plain:
            try:
                found = unpack(plain.read_bytes())
            except ValueError as error:
                raise AndonError(f"{piece.name}: {error}") from None
        if len(found) != piece.records:
            raise AndonError(f"{piece.name}: {len(found)} records, and {piece.records} were sealed")
        return found

    def check(self, piece: Piece) -> None:
        """Unseal it for nothing else than to see that it can be."""
        if piece.kind == "records":
            self.records(piece)
            return
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            self.files(piece, Path(folder))

    @contextmanager
    def _plain(self, piece: Piece, beside: Path) -> Iterator[Path]:
        with tempfile.NamedTemporaryFile(dir=beside) as plain:
            with self._store.open(piece.object) as sealed:
                unseal(sealed, plain, self._identities, f"{piece.name}, object {piece.object[:16]},")
            plain.flush()
            if (size := Path(plain.name).stat().st_size) != piece.plain_bytes:
                raise AndonError(f"{piece.name}: {size} bytes, and {piece.plain_bytes} were sealed")
            yield Path(plain.name)
