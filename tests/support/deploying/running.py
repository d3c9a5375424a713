"""What compose.yaml or the chart describes, as processes, begun in its order, each at an address of its own."""

import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from pipeline.local.machine.process import Process
from support.deploying.compose import Compose
from support.deploying.image import image
from support.deploying.sandbox import Container, Network, stop
from support.waiting import DEADLINE_SECONDS

AGAIN = 'until "$@"; do sleep 0.3; done'


class Running:
    """A context manager that ends with all that was started. `secrets` is the directory that secrets.sh made, `began`
    when nothing ran yet (monotonic seconds)."""

    def __init__(self, compose: Compose, network: Network, secrets: Path) -> None:
        self.compose, self.network, self.secrets = compose, network, secrets
        self.began = time.monotonic()
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

    def becomes_healthy(self, name: str, test: list[str]) -> bool:
        """Once its health check says so, inside it. One process asks again and again: others need the cores."""
        self._until(name, self.network.command(self.alive(name)._replace(argv=["sh", "-c", AGAIN, "again", *test])))
        return True

    def becomes(self, name: str, url: str, words: str = "") -> bool:
        """Once `url` answers 200, asked by address as a kubelet asks, or what it says has a line like `words`."""
        look = f'curl -sSf --noproxy "*" --max-time 20 "{url}" | grep -qE "{words}"'
        self._until(name, [*self.network.enter(""), "sh", "-c", AGAIN, "again", "sh", "-c", look])
        return True

    def _until(self, name: str, argv: list[str]) -> None:
        try:
            subprocess.run(argv, timeout=DEADLINE_SECONDS, check=True, capture_output=True)
        except subprocess.SubprocessError as error:
            self.alive(name)
            words = self._processes[name].last_words()
            raise AssertionError(f"{name} is not as it should be: {error}; it says: {words}") from None

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
