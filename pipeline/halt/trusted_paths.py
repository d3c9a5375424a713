"""Whether others could have put a file where it is: owners, rights and links, of it and of every directory above."""

import os
import pwd
import stat
from pathlib import Path

from pipeline.runtime.errors import ConfigError
from pipeline.runtime.secrets import is_own_group

MAX_BYTES = 65_536  # of a key's file; a PEM has some hundred


def check_directory(path: Path) -> None:
    """The directory is no link and ours, and so is all above it: nobody else can write there or exchange it.

    Directories may be root's, too. One above may be a link of ours or root's, or one that everybody writes to, as
    /tmp, if it keeps everybody to their own entries (the sticky bit).

    Raises:
        ConfigError: naming the directory, and what would be right.
    """
    if stat.S_ISLNK(_status(path).st_mode):
        raise ConfigError(f"{path} is a symbolic link: name the directory itself")
    _check_alone(path, _status(path), is_above=False)
    for above in _above(path):
        status = _status(above)
        _check_owner(above, status)
        if not stat.S_ISLNK(status.st_mode):
            _check_alone(above, status, is_above=True)


def _above(path: Path) -> set[Path]:
    """Every directory on the way to it, and every link with what that leads through."""
    found: set[Path] = set()
    waiting = list(path.absolute().parents)
    while waiting:
        place = waiting.pop()
        if place not in found:
            found.add(place)
            if place.is_symlink():
                target = place.parent / place.readlink()
                waiting += [target, *target.parents]
    return found


def read_file(path: Path, private: bool = False) -> bytes:
    """A file of a directory that was checked: no link, ours or root's, and nobody else may write to it. A private one
    is ours alone, and nobody else may read it.

    Raises:
        ConfigError: naming the file, and what would be right.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        what = "is a symbolic link: put the file itself there" if path.is_symlink() else f"cannot be read: {error}"
        raise ConfigError(f"{path} {what}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is no file")
        if private:
            _check_private(path, status)
        else:
            _check_owner(path, status)
            _check_alone(path, status, is_above=False)
        return file.read(MAX_BYTES)


def _status(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except OSError as error:
        raise ConfigError(f"{path} cannot be looked at: {error}") from None


def _check_private(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"{path} belongs to {_user(status.st_uid)}, who can sign with it: it must be {_user(os.geteuid())}'s own; "
            "make a new one"
        )
    if mode & 0o077:
        raise ConfigError(f"{path} has mode {mode:04o}: others could sign with it; make it private: chmod 600")


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{path} belongs to {_user(status.st_uid)}, who could put a key there: what is trusted must be "
            f"{_user(os.geteuid())}'s or root's, and so must every directory above it"
        )


def _check_alone(path: Path, status: os.stat_result, is_above: bool) -> None:
    _check_owner(path, status)
    if is_above and status.st_mode & stat.S_ISVTX:
        return
    others = status.st_mode & stat.S_IWOTH
    if others or (status.st_mode & stat.S_IWGRP and not is_own_group(status.st_gid, status.st_uid)):
        mode, right = stat.S_IMODE(status.st_mode), "o-w" if others else "g-w"
        raise ConfigError(
            f"{path} has mode {mode:04o}: others could put a key there that would be believed; chmod {right}"
        )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
