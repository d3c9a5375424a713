"""As near to a container as a process of this machine comes: a root that holds what an image would, and what is mounted
and nothing else; a user, an address, an environment and processes of its own. No image is built, and no engine runs.

By Debian's bubblewrap and iproute2, as root. All of it ends with the process that made it.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import psutil
import pytest

from pipeline.local.machine.process import Process
from support.sources import ROOT
from support.waiting import DEADLINE_SECONDS, until

PASSWD = "root:x:0:0::/root:/bin/sh\nandon:x:10001:10001::/var/lib/andon:/usr/sbin/nologin\n"
GROUP = "root:x:0:\nandon:x:10001:\n"
HEALTHY = ROOT / "deploy" / "image" / "healthy.py"
SUBNET = "10.213.0"
# Of this machine, as far as it is there: libraries, Java's settings, authorities.
LENT = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/nsswitch.conf", "/etc/ssl", "/etc/java-17-openjdk")


class Mount(NamedTuple):
    """A file or directory of this machine, and where it is seen inside."""

    source: Path
    target: str
    writable: bool = False


class Container(NamedTuple):
    """What runs, and where. `user` is uid and gid, `tmpfs` are directories in memory that all may write to."""

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str] = {}
    mounts: Sequence[Mount] = ()
    user: int = 10001
    groups: Sequence[int] = ()
    read_only: bool = True
    tmpfs: Sequence[str] = ()
    workdir: str = "/"


def require() -> None:
    """Skip what this machine cannot run."""
    for tool, package in (("bwrap", "bubblewrap"), ("ip", "iproute2"), ("nsenter", "util-linux"), ("curl", "curl")):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} ({package})")
    if os.geteuid() != 0:
        pytest.skip("needs root, as a container engine does: it makes namespaces and users")


class Network:
    """Addresses for containers, that reach one another by name and nothing else; none of this machine is touched."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.place.mkdir(parents=True, exist_ok=True)
        self.addresses: dict[str, str] = {}
        self._holders: dict[str, Process] = {}
        self._hosts = place / "hosts"
        self._hosts.write_text("127.0.0.1 localhost\n")
        for name, text in (("passwd", PASSWD), ("group", GROUP)):
            (place / name).write_text(text)

    def __enter__(self) -> Self:
        self._hold("")
        bridge = f"ip link set lo up && ip link add br0 type bridge && ip addr add {SUBNET}.1/24 dev br0"
        self._shell("", f"{bridge} && ip link set br0 up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for holder in self._holders.values():
            holder.kill()

    def _hold(self, name: str) -> None:
        argv = ["unshare", "--net", "--", "sleep", "infinity"]
        holder = Process(argv, self.place / "holders.log", name=f"network of {name or 'all'}").start()
        self._holders[name] = holder
        own = Path(f"/proc/{os.getpid()}/ns/net").readlink()
        until("it has a network of its own", lambda: Path(f"/proc/{holder.pid}/ns/net").readlink() != own)

    def _shell(self, name: str, script: str) -> None:
        subprocess.run([*self.enter(name), "sh", "-ec", script], check=True, timeout=DEADLINE_SECONDS)

    def enter(self, name: str) -> list[str]:
        """The words that run a command at the address of this container, made at its first use."""
        if name not in self._holders:
            self.join(name)
        return ["nsenter", f"--net=/proc/{self._holders[name].pid}/ns/net", "--"]

    def join(self, name: str) -> None:
        """Give it an address, and let all others know."""
        number = len(self._holders) + 1
        self._hold(name)
        pid, link = self._holders[name].pid, f"v{number}"
        self._shell("", f"ip link add {link} type veth peer name eth0 netns {pid} && ip link set {link} master br0 up")
        up = f"ip link set lo up && ip addr add {SUBNET}.{number}/24 dev eth0 && ip link set eth0 up"
        self._shell(name, up)
        self.addresses[name] = f"{SUBNET}.{number}"
        with self._hosts.open("a") as hosts:  # in place: who runs already sees it
            hosts.write(f"{SUBNET}.{number} {name}\n")

    def command(self, container: Container) -> list[str]:
        """The whole command line."""
        inside = _root(self.place) + list(_mounted(container))
        # In memory first: this very checkout may lie below /tmp.
        memory = [word for path in container.tmpfs for word in ("--perms", "1777", "--tmpfs", path)]
        inside = [*memory, *_parents(inside), *inside, *(("--remount-ro", "/") if container.read_only else ())]
        environ = {"PATH": "/opt/andon/bin:/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", **container.environ}
        inside += [word for name, value in environ.items() for word in ("--setenv", name, value)]
        user = ["setpriv", f"--reuid={container.user}", f"--regid={container.user}", "--no-new-privs"]
        user += [f"--groups={','.join(map(str, container.groups))}"] if container.groups else ["--clear-groups"]
        lives = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", container.name, "--die-with-parent"]
        caps = [word for cap in ("SETUID", "SETGID") for word in ("--cap-add", f"CAP_{cap}")]
        bwrap = ["bwrap", *lives, "--clearenv", *caps, *inside, "--chdir", container.workdir]
        return [*self.enter(container.name), *bwrap, *user, "--", *container.argv]

    def process(self, container: Container) -> Process:
        """Not started yet."""
        return Process(self.command(container), self.place / f"{container.name}.log", name=container.name)

    def run(self, container: Container, *argv: str) -> subprocess.CompletedProcess[str]:
        """Another command in its place, or its own, to its end."""
        whole = self.command(container._replace(argv=argv or container.argv))
        return subprocess.run(whole, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)

    def curl(self, name: str, url: str, *options: str, body: bytes = b"") -> tuple[int, str]:
        """Status (0: none) and answer, asked from this container's address; `url` may name others and their port."""
        argv = [*self.enter(name), "curl", "-sS", "--noproxy", "*", "--max-time", "20", "-w", "\n%{http_code}"]
        asked = urlsplit(url)
        if asked.hostname in self.addresses:
            argv += ["--resolve", f"{asked.hostname}:{asked.port}:{self.addresses[asked.hostname]}"]
        done = subprocess.run([*argv, *options, url], input=body, capture_output=True, timeout=60, check=False)
        text, _, status = done.stdout.decode("utf-8", "replace").rpartition("\n")
        return int(status or 0), text


def _root(place: Path) -> list[str]:
    """What every image has, and the stages' environment at /opt/andon."""
    words = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
    for name in ("bin", "sbin", "lib", "lib64"):
        words += ["--symlink", f"usr/{name}", f"/{name}"]
    for path in (sys.base_prefix, sys.prefix, str(ROOT)):
        words += ["--ro-bind", path, path]
    for path in LENT:
        words += ["--ro-bind-try", path, path]
    for name in ("passwd", "group", "hosts"):
        words += ["--ro-bind", str(place / name), f"/etc/{name}"]
    return [*words, "--ro-bind", sys.prefix, "/opt/andon", "--ro-bind", str(HEALTHY), "/opt/healthy.py"]


def _parents(words: Sequence[str]) -> Iterable[str]:
    """The directories that lead to what is mounted: open to look into, as bubblewrap does not make them by itself."""
    targets = [words[at + 2] for at, word in enumerate(words) if word in ("--ro-bind", "--ro-bind-try", "--bind")]
    for path in sorted({str(parent) for target in targets for parent in Path(target).parents} - {"/", *targets}):
        if not any(path.startswith(f"{target}/") for target in targets):
            yield from ("--perms", "0755", "--dir", path)


def _mounted(container: Container) -> Iterable[str]:
    for mount in sorted(container.mounts, key=lambda mount: mount.target.count("/")):
        yield from ("--bind" if mount.writable else "--ro-bind", str(mount.source), mount.target)


def stop(process: Process, seconds: float = 30.0) -> int:
    """As a container engine stops it: SIGTERM to the first process inside; the exit code."""
    for child in psutil.Process(process.pid).children(recursive=True):
        if not child.children():
            child.send_signal(signal.SIGTERM)
    return process.wait(seconds)
