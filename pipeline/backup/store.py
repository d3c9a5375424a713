"""The directory that keeps backups: sealed objects by the hash of their bytes, and a signed manifest of each backup.

A backup is there once its manifest is, which is written last and at once: what was begun and not ended leaves objects
that nobody names, and `prune` takes them away.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from pipeline.backup.manifest import Manifest, believed
from pipeline.backup.sealed import Counted
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.verify import TrustedKeys
from pipeline.runtime.errors import AndonError, ConfigError, writable

KEY = "backup.store_dir"
SUFFIX = ".json"
BLOCK_BYTES = 1 << 20


class Known(NamedTuple):
    """A manifest of the store: what it says, or why it is not believed."""

    id: str
    manifest: Manifest | None
    why: str = ""


class Store:
    """One directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._objects, self._manifests = directory / "objects", directory / "backups"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """By one at a time: who writes, and who takes away.

        Raises:
            ConfigError: when it cannot be written to.
            AndonError: when another has it.
        """
        with writable(KEY, self.directory):
            for each in (self._objects, self._manifests):
                each.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self.directory / "lock").open("a")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise AndonError(f"another backup, or prune, is at work in {self.directory}") from None
            for left in self._objects.glob("*.part"):
                left.unlink()
            yield

    # -- manifests

    def ids(self) -> list[str]:
        """Of all backups, the oldest first.

        Raises:
            ConfigError: when it is no store.
        """
        if not self._manifests.is_dir():
            raise ConfigError(f"{KEY} = {str(self.directory)!r}: is no store: `andon backup create` makes it")
        return sorted(path.name.removesuffix(SUFFIX) for path in self._manifests.glob(f"*{SUFFIX}"))

    def known(self, trusted: TrustedKeys) -> list[Known]:
        """Every backup, the oldest first."""
        return [self.read(each, trusted) for each in self.ids()]

    def read(self, backup_id: str, trusted: TrustedKeys) -> Known:
        """What a manifest says, if it is believed."""
        try:
            manifest = believed((self._manifests / f"{backup_id}{SUFFIX}").read_bytes(), trusted)
        except UntrustedRecord as error:
            return Known(backup_id, None, f"its manifest is not believed: {error}")
        except (OSError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
            return Known(backup_id, None, f"its manifest cannot be read: {error}")
        if manifest.id != backup_id:
            return Known(backup_id, None, f"its manifest is that of {manifest.id}")
        return Known(backup_id, manifest)

    def add(self, backup_id: str, raw: bytes) -> None:
        """A manifest: whole, durable, and last."""
        with writable(KEY, self.directory), tempfile.NamedTemporaryFile(dir=self._manifests, delete=False) as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, self._manifests / f"{backup_id}{SUFFIX}")
            _settle(self._manifests)

    def drop(self, backup_id: str) -> None:
        """A backup is none any more."""
        with writable(KEY, self.directory):
            (self._manifests / f"{backup_id}{SUFFIX}").unlink()
            _settle(self._manifests)

    # -- objects

    def path(self, name: str) -> Path:
        """Where an object is."""
        return self._objects / name[:2] / name

    @contextmanager
    def adding(self) -> Iterator[tuple[Counted, list[str]]]:
        """A stream to write an object to; once the block has ended its name is in the list.

        Raises:
            ConfigError: when it cannot be written: a full disk, for one.
        """
        names: list[str] = []
        with writable(KEY, self.directory):
            with tempfile.NamedTemporaryFile(dir=self._objects, suffix=".part", delete=False) as file:
                try:
                    yield (counted := Counted(file)), names
                    file.flush()
                    os.fsync(file.fileno())
                except BaseException:
                    Path(file.name).unlink()
                    raise
            path = self.path(counted.digest)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            os.replace(file.name, path)
            names.append(counted.digest)

    def settle(self, names: set[str]) -> None:
        """What was added outlives a loss of power."""
        for folder in {self.path(name).parent for name in names} | {self._objects}:
            _settle(folder)

    def open(self, name: str) -> BinaryIO:
        """Raises OSError."""
        return self.path(name).open("rb")

    def why_not(self, name: str, sealed_bytes: int, is_thorough: bool = True) -> str:
        """What is wrong with an object, "" for nothing; if not thorough only whether it is there, as long as it was."""
        try:
            found = self.path(name).stat().st_size
            if found != sealed_bytes:
                return f"object {name[:16]} has {found} bytes, and had {sealed_bytes}"
            if is_thorough:
                with self.path(name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != name:
                        return f"object {name[:16]} is not what was stored: its bytes have changed"
        except OSError as error:
            return f"object {name[:16]} cannot be read: {error.strerror}"
        return ""

    def names(self) -> set[str]:
        """Of all objects."""
        return {path.name for path in self._objects.glob("??/*")}

    def size(self, name: str) -> int:
        """In bytes."""
        return self.path(name).stat().st_size

    def remove(self, name: str) -> None:
        """Take an object away."""
        with writable(KEY, self.directory):
            self.path(name).unlink()


def require_space(place: Path, needed_bytes: int, what: str) -> None:
    """Raises AndonError when the disk of a directory, which need not be there yet, has less."""
    there = next(path for path in (place, *place.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed_bytes:
        raise AndonError(f"{place}: {what} takes {needed_bytes:,} bytes, and its disk has {free:,} left")


def _settle(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
