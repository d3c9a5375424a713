"""Who listens on a port of this machine: asked of the kernel (Linux), before whoever it is gets to hear anything."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.local.machine.ports import LOOPBACK

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS = b"0A"  # include/net/tcp_states.h
_PAGE_BYTES = 4096  # what the kernel makes of a table at a time


def _hex(address: bytes) -> str:
    """As the tables have it: by words, in the machine's own order."""
    words = [int.from_bytes(address[at : at + 4], sys.byteorder) for at in range(0, len(address), 4)]
    return "".join(f"{word:08X}" for word in words)


# Those under which a server of ours, or a stranger, answers on the loopback interface.
_ADDRESSES = {_hex(socket.inet_pton(socket.AF_INET, text)) for text in (LOOPBACK, "0.0.0.0")} | {
    _hex(socket.inet_pton(socket.AF_INET6, text)) for text in ("::1", "::", f"::ffff:{LOOPBACK}")
}


class Listener(NamedTuple):
    """A listening socket, and the user who made it."""

    inode: int
    uid: int


def strangers(pid: int, port: int) -> list[Listener] | None:
    """Those who listen on the port and are not this process; None while nobody listens, and when the process has ended:
    what it leaves open for a moment is no stranger's. On another system than Linux nobody is known to be a stranger."""
    if sys.platform != "linux":
        return []
    found = list(_listeners(port))
    if not found:
        return None
    if (own := _sockets(pid)) is None:
        return None
    return [listener for listener in found if listener.inode not in own]


def _listeners(port: int) -> Iterator[Listener]:
    for table in TABLES:
        for words in _listening(table):
            address, _, number = words[1].partition(":")
            if int(number, 16) == port and address in _ADDRESSES:
                yield Listener(int(words[9]), int(words[7]))


def _listening(table: Path) -> Iterator[list[str]]:
    """Its rows of sockets that listen. These come first, and the kernel makes the rest, which takes it milliseconds
    however few there are, only for who reads on."""
    try:
        with table.open("rb", buffering=0) as file:
            text = b""
            while part := file.read(_PAGE_BYTES):
                text += part
                if any(line.split()[3:4] != [_LISTENS] for line in text.splitlines()[1:-1]):
                    break
    except OSError:  # without IPv6 there is but one
        return
    for line in text.splitlines()[1:]:
        words = line.decode("ascii").split()
        if words[3:4] != [_LISTENS.decode()]:
            return
        yield words


def _sockets(pid: int) -> set[int] | None:
    """The inodes of the sockets that a process has open; None when it has ended. Of one that is ending, the threads of
    an engine for one, the kernel shows no file any more while some thread still holds them all."""
    folder, found = f"/proc/{pid}/fd", set()
    try:
        names = os.listdir(folder)
    except OSError:
        names = []
    if not names:
        return None
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}")
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            found.add(int(target[len("socket:[") : -1]))
    return found
