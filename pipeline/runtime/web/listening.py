"""How an HTTP server comes to its listening socket: it opens one, or was given one by whoever started it."""

import os
import socket

from aiohttp import web

from pipeline.runtime.errors import ConfigError

BACKLOG = 128
OWN = -1  # the descriptor of who opens its socket itself


async def listen(
    runner: web.AppRunner, section: str, host: str, port: int, descriptor: int = OWN, backlog: int = BACKLOG
) -> int:
    """Start to accept; the port that it became. `backlog`: connections that may wait to be accepted.

    Raises:
        ConfigError: when the address is taken or not ours, or the descriptor is no listening socket.
    """
    try:
        if descriptor == OWN:
            await web.TCPSite(runner, host, port, backlog=backlog).start()
        else:
            await web.SockSite(runner, socket.socket(fileno=descriptor), backlog=backlog).start()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        where = f"{section}.host, {section}.port: cannot listen on {host}:{port}"
        given = f"{section}.listen_fd = {descriptor}: no socket to listen on"
        raise ConfigError(f"{where if descriptor == OWN else given}: {why}") from None
    found: int = runner.addresses[0][1]
    return found
