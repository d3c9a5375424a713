"""Secrets in a configuration: which keys are some, what they say, and that nobody else can read the files that do."""

import grp
import os
import pwd
import stat
from pathlib import Path

import msgspec

from pipeline.runtime.errors import ConfigError

_WORDS = ("password", "token", "secret")
_MOUNTS = Path("/proc/self/mountinfo")


def is_secret(key: str) -> bool:
    """Secrets come from files or the environment and are never shown; a path to a secret is not one."""
    return any(word in key for word in _WORDS) and not key.endswith("_file")


def read_secret(config: msgspec.Struct, section: str, key: str = "password") -> str:
    """A secret of a section: given as itself, or in the file that `…_file` names.

    Raises:
        ConfigError: when the file cannot be read, or others can read it.
    """
    value: str = getattr(config, key)
    name: str = getattr(config, f"{key}_file")
    if value or not name:
        return value
    where = f"{section}.{key}_file = {name!r}"
    try:
        text = Path(name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: cannot be read: {error}") from None
    refuse_other_readers(Path(name), where)
    return text


def refuse_other_readers(path: Path, where: str) -> None:
    """A file with a secret is for its owner, for root, and for the group that root made it readable to.

    What nobody else can reach is theirs, too: below a directory that is closed to others, or in a container, whose
    orchestrator mounts the file, or a directory of such, read-only. `where`: the setting that names it.

    Raises:
        ConfigError: naming the file, its mode, and what would be right.
    """
    try:
        real = path.resolve()
        status = real.stat()
    except OSError:
        return  # whoever opens it says why
    if not stat.S_ISREG(status.st_mode) or not (who := _others(status)):
        return
    if any(_keeps_out(above) for above in real.parents) or _is_handed_in(real):
        return
    raise ConfigError(
        f"{where}: {path} has mode {stat.S_IMODE(status.st_mode):04o}, so {who} could read the secret in it: "
        f"chmod 600 {path} (or, for a service: owner root, group the service's, chmod 640)"
    )


def _others(status: os.stat_result) -> str:
    """Who else may read or replace what is in it; "" for nobody."""
    if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        return "everybody"
    shared = status.st_mode & (stat.S_IRGRP | stat.S_IWGRP) and status.st_uid != 0
    return f"group {status.st_gid}" if shared and not is_own_group(status.st_gid, status.st_uid) else ""


def _keeps_out(directory: Path) -> bool:
    """Whether others find no way through it."""
    try:
        status = directory.stat()
    except OSError:
        return False
    if status.st_mode & stat.S_IXOTH:
        return False
    return not status.st_mode & stat.S_IXGRP or status.st_uid == 0 or is_own_group(status.st_gid, status.st_uid)


def _is_handed_in(path: Path) -> bool:
    """Whether it lies in a mount of its own that is read-only, as containers get their secrets: who else could reach
    them is their host's to say."""
    try:
        lines = _MOUNTS.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    mounts = {fields[4].replace("\\040", " "): fields[5].split(",") for line in lines if (fields := line.split(" "))}
    place = next((str(place) for place in (path, *path.parents) if str(place) in mounts), "/")
    return place != "/" and "ro" in mounts[place]


def is_own_group(gid: int, uid: int) -> bool:
    """Whether a group is the private one of a file's owner, or ours, as many systems give each user: nobody else is in
    it. Kubernetes gives a volume to root and, by `fsGroup`, to the group of the pod's user."""
    return any(_is_private(gid, user) for user in (uid, os.geteuid()))


def _is_private(gid: int, uid: int) -> bool:
    try:
        group, owner = grp.getgrgid(gid), pwd.getpwuid(uid)
    except KeyError:
        return False
    return group.gr_gid == owner.pw_gid and group.gr_name == owner.pw_name and set(group.gr_mem) <= {owner.pw_name}
