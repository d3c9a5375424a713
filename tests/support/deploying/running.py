"""What compose.yaml or the chart describes, as processes, begun in its order, each at an address of its own."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pipeline.local.machine.process import Process
from support.deploying.compose import Compose
from support.deploying.image import image
from support.deploying.sandbox import Container, Network, stop

Object = dict[str, Any]


class Running:
    """A context manager that ends with all that was started. `secrets` is the directory that secrets.sh made."""

    def __init__(self, compose: Compose, network: Network, secrets: Path) -> None:
        self.compose, self.network, self.secrets = compose, network, secrets
        self._stack = ExitStack()
        self._processes: dict[str, Process] = {}
        self._containers: dict[str, Container] = {}

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, container: Container) -> None:
        """And keep it until the end."""
        process = self.network.process(container)
        self._stack.callback(process.kill)
        process.start()
        self._processes[container.name], self._containers[container.name] = process, container

    def alive(self, name: str) -> Container:
        """What runs under this name; raises AssertionError with its last words when it has ended."""
        process = self._processes[name]
        assert process.is_running, f"{name}: {process.last_words()}"
        return self._containers[name]

    def is_healthy(self, name: str, test: list[str]) -> bool:
        """Whether its health check says so."""
        return self.network.run(self.alive(name), *test).returncode == 0

    def answers(self, name: str, port: int, path: str) -> bool:
        """Whether it answers a probe, asked by its address as a kubelet asks."""
        self.alive(name)
        return self.network.curl("", f"http://{self.network.addresses[name]}:{port}{path}")[0] == 200

    def once(self, container: Container, *words: str) -> str:
        """What runs to its end, well; what it prints."""
        done = self.network.run(container, *words)
        assert done.returncode == 0, f"{container.name}: {done.stdout}{done.stderr}"
        return done.stdout

    def andon(self, *words: str) -> str:
        """`docker compose run --rm andon WORDS`."""
        return self.once(self.compose.container("andon"), *image().entrypoint, *words)

    def ends(self, name: str) -> bool:
        """SIGTERM, as an engine sends it; whether it ended well, and in its grace period."""
        code = stop(self._processes[name])
        assert code == 0, f"{name}: {code}: {self._processes[name].last_words()}"
        return True
