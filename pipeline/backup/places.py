"""Files of a backup on their way to where they were: unsealed apart, held against what is there, and put at once."""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from pipeline.backup.manifest import Manifest
from pipeline.backup.opened import Opened
from pipeline.runtime.errors import AndonError, writable


class Staged(NamedTuple):
    """`names` are paths below the root; `keys_dir`: the correlator's keys, as they are apart."""

    names: list[str]
    folder: Path
    root: Path
    keys_dir: Path

    @classmethod
    def of(cls, opened: Opened, manifest: Manifest, scratch: Path, root: Path) -> "Staged":
        """Unsealed.

        Raises:
            AndonError: when a file is there already, and is another.
        """
        folder = scratch / "files"
        names = [name for piece in manifest.of_kind("files") for name in opened.files(piece, folder)]
        staged = cls(names, folder, root, folder / manifest.keys_dir.lstrip("/"))
        if used := [name for name in names if staged._differs(name)]:
            shown = ", ".join(str(root / name) for name in used[:3])
            raise AndonError(
                f"{shown} {'is' if len(used) == 1 else 'are'} there, and not as in the backup: nothing is "
                "written over. Take them away, or restore below another --root"
            )
        return staged

    def _differs(self, name: str) -> bool:
        path = self.root / name
        if not os.path.lexists(path):
            return False
        return not path.is_file() or path.is_symlink() or path.read_bytes() != (self.folder / name).read_bytes()

    def place(self, back: ExitStack) -> None:
        """Put those that are not there; what takes them away again goes onto the stack.

        Raises:
            ConfigError: when one cannot be written.
        """
        for name in self.names:
            path = self.root / name
            if os.path.lexists(path):
                continue
            with writable("--root", path.parent):
                self._folder(path.parent, back)
                back.callback(path.unlink, missing_ok=True)
                shutil.copy2(self.folder / name, path)
                _give(path)

    def _folder(self, folder: Path, back: ExitStack) -> None:
        if folder.exists():
            return
        self._folder(folder.parent, back)
        folder.mkdir(mode=0o700)
        _give(folder)
        back.callback(_remove_empty, folder)


def _give(path: Path) -> None:
    """What root restores belongs to whom the directory above belongs: a stage would not believe another's keys."""
    if os.geteuid() == 0:
        above = path.parent.stat()
        os.chown(path, above.st_uid, above.st_gid)


def _remove_empty(folder: Path) -> None:
    if not os.listdir(folder):
        folder.rmdir()
