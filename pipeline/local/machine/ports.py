"""Free ports, found by binding them.

They lie below the range from which the kernel takes the local ports of outgoing connections: between the moment that
a port is found and the moment that its server binds it, which takes seconds, any client on the machine could get it.
For the same reason what one process has found no other finds while that process lives (on Linux).
"""

import random
import socket
import sys
from pathlib import Path

LOOPBACK = "127.0.0.1"
FIRST = 15_000
ATTEMPTS = 200


def _outgoing_from() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768


def bind(port: int) -> socket.socket | None:
    """A socket bound to this port of the loopback interface, or None when it is taken."""
    sock = socket.socket()
    try:
        # As servers do: without it, connections of a server that just stopped would keep its port for a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, port))
        return sock
    except OSError:
        sock.close()
        return None


def _claim(port: int) -> bool:
    """Whether nobody has found this port before; from now on nobody will. The kernel keeps the list: sockets that have
    names but no files, and end with the process that holds them."""
    if sys.platform != "linux":
        return True
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0andon-port-{port}")
    except OSError:
        claim.close()
        return False
    claim.detach()  # open as long as this process is
    return True


def bind_free() -> socket.socket:
    """A socket bound to a port that nobody else has."""
    last = _outgoing_from()
    for _ in range(ATTEMPTS if last > FIRST else 0):
        port = random.randrange(FIRST, last)
        if (sock := bind(port)) is None:
            continue
        if _claim(port):
            return sock
        sock.close()
    sock = socket.socket()
    sock.bind((LOOPBACK, 0))
    return sock


def free_port() -> int:
    """A port of the loopback interface that nobody listens on just now."""
    with bind_free() as probe:
        port: int = probe.getsockname()[1]
        return port
