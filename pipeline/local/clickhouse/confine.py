"""What this process may still touch of the machine from now on, held by the kernel (Landlock, Linux 5.13 and later).

The embedded engine runs what people send it, as this process's OS user, and has functions that read any file. The
kernel then says no, whatever the statement: to files that are not named here, to programs, and from Linux 6.7 on to
connections out.
"""

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import pipeline

# Numbers of the system calls, the same on every architecture that Python runs on today.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH, _PR_SET_NO_NEW_PRIVS = 1, 1, 38
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_OF_FILES = 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15  # write, read, truncate, ioctl: what a rule on a file may name
_EXECUTE = 1
_RIGHTS = (13, 14, 15, 15)  # how many bits of rights each version knows, and
_RIGHTS_NOW = 16  # from version 5 on
_CONNECT_TCP, _CONNECT_SINCE = 1 << 1, 4
_SCOPES, _SCOPES_SINCE = 0b11, 6  # abstract sockets of others, signals to others

# Nothing of these is anybody's secret: libraries, time zones, names of hosts, the size of the machine.
_SYSTEM: tuple[str, ...] = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
)
_SYSTEM += ("/etc/localtime", "/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf", "/etc/gai.conf")
_SYSTEM += ("/dev/null", "/dev/urandom", "/sys/fs/cgroup", "/sys/devices/system/cpu", "/sys/devices/system/node")
_SYSTEM += ("/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/self/statm", "/proc/self/cgroup")
_SYSTEM += ("/proc/sys/vm/overcommit_memory", "/sys/kernel/mm/transparent_hugepage/enabled")
_SYSTEM += ("/proc/self/maps",)  # where libc reads how large the main thread's stack is
_SYSTEM += ("/proc/self/auxv",)  # where the engine finds the vDSO; denied, it takes whatever lies there and may crash

_held: list[int] = []  # a rule on a file of /proc lasts while it is open


def unavailable() -> str:
    """Why the kernel cannot hold a process like this one, "" if it can; changes nothing."""
    if sys.platform != "linux":
        return "only Linux has Landlock"
    if _version(ctypes.CDLL(None, use_errno=True)) < 1:
        return f"this kernel has no Landlock, or it is off: {os.strerror(ctypes.get_errno())}"
    return ""


def confine(writable: Path) -> str:
    """From here on the calling thread, and every thread that it starts, reads only libraries and `writable`, and writes
    only there. What is open already stays open. Says why the kernel does not hold it, or "" if it does."""
    if why := unavailable():
        return why
    libc = ctypes.CDLL(None, use_errno=True)
    version = _version(libc)
    rights = (1 << (_RIGHTS[version - 1] if version <= len(_RIGHTS) else _RIGHTS_NOW)) - 1
    try:
        ruleset = _ruleset(libc, version, rights)
        try:
            _allow(libc, ruleset, [writable], rights & ~_EXECUTE)
            _allow(libc, ruleset, _readable(), _READ_FILE | _READ_DIR)
            _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
            _check(libc.syscall(_RESTRICT_SELF, ruleset, 0))
        finally:
            os.close(ruleset)
    except OSError as error:  # a container may allow the question and not the rest
        return f"Landlock fails: {error}"
    return ""


def _version(libc: ctypes.CDLL) -> int:
    return int(libc.syscall(_CREATE_RULESET, None, 0, _VERSION))


def _readable() -> list[Path]:
    """Libraries and Python's own; of this program its package, not the directory that it lies in."""
    python = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    python.append(sysconfig.get_config_var("LIBDIR") or "")
    packages = [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
    found = (Path(entry) for entry in (*_SYSTEM, *filter(None, python), *packages, *pipeline.__path__))
    return [path for path in found if path.is_absolute() and path.exists()]


def _ruleset(libc: ctypes.CDLL, version: int, rights: int) -> int:
    attributes = struct.pack("=Q", rights)
    if version >= _CONNECT_SINCE:
        attributes += struct.pack("=Q", _CONNECT_TCP)
    if version >= _SCOPES_SINCE:
        attributes += struct.pack("=Q", _SCOPES)
    return _check(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))


def _allow(libc: ctypes.CDLL, ruleset: int, paths: Iterable[Path], rights: int) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        _held.append(descriptor)
        rule = struct.pack("=Qi", rights if path.is_dir() else rights & _OF_FILES, descriptor)
        _check(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0))


def _check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
