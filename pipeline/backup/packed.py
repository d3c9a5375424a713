"""Folders and files as one stream of bytes that is always the same for the same content, and back: tar, in the order of
the names, without owners and times."""

import os
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pipeline.runtime.errors import AndonError

BLOCK_BYTES = 1 << 20
_UNIT = tarfile.BLOCKSIZE


class Flow:
    """Pieces of bytes, read as a stream."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes, none at the end."""
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._left = piece
        found, self._left = (self._left, b"") if size < 0 else (self._left[:size], self._left[size:])
        return found


def files_under(folder: Path) -> list[str]:
    """Every file below a folder, by its path from there, in order."""
    found = []
    for place, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(place, name), folder) for name in names]
    return sorted(found)


def packed(files: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """Files, each under the name that it is to have. Raises OSError."""
    for name, path in files:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            info = tarfile.TarInfo(name)
            info.size, info.mode = status.st_size, status.st_mode & 0o777
            yield info.tobuf(tarfile.PAX_FORMAT)
            yield from _content(file, info.size, name)
    yield bytes(2 * _UNIT)


def _content(file: BinaryIO, size: int, name: str) -> Iterator[bytes]:
    left = size
    while left:
        block = file.read(min(left, BLOCK_BYTES))
        if not block:
            raise AndonError(f"{name} became shorter while it was read")
        left -= len(block)
        yield block
    yield bytes(-size % _UNIT)


def unpacked(archive: Path, folder: Path) -> list[str]:
    """Put the files of such a stream below a folder; their names.

    Raises:
        AndonError: when it is none, or a name leads out of the folder.
        OSError: when they cannot be written.
    """
    names = []
    try:
        with tarfile.open(archive, "r:") as tar:
            for info in tar:
                path = PurePosixPath(info.name)
                if not info.isreg() or path.is_absolute() or ".." in path.parts:
                    raise AndonError(f"{info.name!r} in a piece is no plain file below its folder")
                _put(tar.extractfile(info), folder / path, info.mode & 0o777)
                names.append(info.name)
    except tarfile.TarError as error:
        raise AndonError(f"a piece cannot be unpacked: {error}") from None
    return names


def _put(content: object, path: Path, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        while block := content.read(BLOCK_BYTES):  # type: ignore[attr-defined]
            file.write(block)
