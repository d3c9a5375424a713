"""Senders who say half of what they have to say, and hold their connections."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from support.waiting import DEADLINE_SECONDS

HALF_A_HEAD = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nX-a: "


def connect(port: int, first_bytes: bytes) -> socket.socket:
    """A connection to this machine on which so much was sent."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_SECONDS)
    peer.sendall(first_bytes)
    return peer


@contextmanager
def held(port: int, count: int, first_bytes: bytes = HALF_A_HEAD) -> Iterator[list[socket.socket]]:
    """So many of them, for as long as the block lasts."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(port, first_bytes)) for _ in range(count)]


def is_closed(peer: socket.socket) -> bool:
    """Whether the other side has closed it, all that it has said being read."""
    peer.setblocking(False)
    try:
        while peer.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True
