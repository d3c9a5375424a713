"""The ports of a line: found by binding them, remembered, and those whose callers bring secrets never let go.

Between the moment that a port is found and the moment that its server listens on it, and again while a server is being
started anew, anybody on the machine could take it, and would be sent passwords. So the supervisor itself listens on
those ports for as long as the line runs, and the server is given the socket. Callers then wait for a server that is
being started anew; they do not meet another.
"""

import socket
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType

import msgspec

from pipeline.local.machine.files import write_private
from pipeline.local.machine.ports import bind, bind_free
from pipeline.runtime.errors import ConfigError

PORTS_FILE = "ports.json"
WAITING = 128  # connections that nobody has accepted yet


class Doors:
    """A context manager. `ports` by name; `descriptors` are the listening sockets of those that are kept."""

    def __init__(
        self, data_dir: Path, names: Iterable[str], fixed: Mapping[str, int], kept: Collection[str] = ()
    ) -> None:
        """A free loopback port for each name: the fixed one, else the one used here last, else any. They are found by
        binding them all at once, and remembered, so that what was connected once finds the line again.

        Raises:
            ConfigError: when a fixed port is taken.
        """
        last = _remembered(data_dir)
        self._bound: dict[str, socket.socket] = {}
        try:
            for name in sorted(names, key=lambda name: (not fixed.get(name), name not in last)):
                self._bound[name] = _bound(name, fixed.get(name, 0), last.get(name, 0))
                if name in kept:
                    self._bound[name].listen(WAITING)
            self.ports = {name: int(sock.getsockname()[1]) for name, sock in self._bound.items()}
        except BaseException:
            self.close()
            raise
        self._close(self._bound.keys() - set(kept))
        self.descriptors = {name: sock.fileno() for name, sock in self._bound.items()}
        write_private(data_dir / PORTS_FILE, msgspec.json.encode(last | self.ports).decode() + "\n")

    def _close(self, names: Collection[str]) -> None:
        for name in list(names):
            self._bound.pop(name).close()

    def close(self) -> None:
        """Let go of all."""
        self._close(self._bound.keys())

    def __enter__(self) -> "Doors":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _remembered(data_dir: Path) -> dict[str, int]:
    try:
        return msgspec.json.decode((data_dir / PORTS_FILE).read_bytes(), type=dict[str, int])
    except (OSError, msgspec.DecodeError):
        return {}


def _bound(name: str, wish: int, last: int) -> socket.socket:
    sock = bind(wish) if wish else (last and bind(last)) or bind_free()
    if not sock:
        key = name.replace("-", "_") + "_port"
        raise ConfigError(f"up.{key} = {wish}: taken by another process; 0 takes any free port")
    return sock
