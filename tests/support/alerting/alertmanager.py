"""Alertmanager as Debian ships it, with the routes of deploy/prometheus, and somebody whom it tells."""

import json
import shutil
import threading
import time
import urllib.request
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from pipeline.local.machine.ports import free_port
from pipeline.local.machine.process import Process
from support.waiting import DEADLINE_SECONDS, until

READY = "Listening on"
DEPLOY = Path(__file__).parents[3] / "deploy" / "prometheus"


class Webhook(AbstractContextManager["Webhook"]):
    """Keeps what it is told; `told` holds alerts with `arrived`, in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.extend(alert | {"arrived": time.monotonic()} for alert in body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def named(self, name: str, status: str) -> list[dict[str, Any]]:
        """Alerts of this name and status that have arrived."""
        return [each for each in self.told if (each["labels"]["alertname"], each["status"]) == (name, status)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class Alertmanager:
    """Tells a webhook; may be killed and started anew, at the same address."""

    def __init__(self, directory: Path, webhook: Webhook) -> None:
        if shutil.which("prometheus-alertmanager") is None:
            pytest.skip("needs prometheus-alertmanager")
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        place = directory / "routes"
        place.mkdir()
        shutil.copy(DEPLOY / "andon.tmpl", place)
        shipped = (DEPLOY / "alertmanager.yml").read_text()
        assert shipped.count("http://127.0.0.1:9095/") == 2
        config = place / "alertmanager.yml"
        config.write_text(shipped.replace("http://127.0.0.1:9095/", webhook.url))
        argv = [
            "prometheus-alertmanager", f"--config.file={config}", f"--storage.path={directory}/alertmanager",
            f"--web.listen-address={self.address}", "--cluster.listen-address=",
        ]  # fmt: skip
        self.process = Process(argv, directory / "alertmanager.log", ready=READY)

    def start(self) -> Self:
        """Answers when it returns."""
        self.process.start()
        until("it answers", lambda: self.alerts() is not None, DEADLINE_SECONDS)
        return self

    def alerts(self) -> list[dict[str, Any]] | None:
        """Those that it knows to be firing; None while it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=5) as answer:
                found: list[dict[str, Any]] = json.load(answer)
                return found
        except OSError:
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
