"""Prometheus as Debian ships it, with the files of deploy/prometheus, or those that a local line has written."""

import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from pipeline.local.machine.ports import free_port
from pipeline.local.machine.process import Process

DEPLOY = Path(__file__).parents[3] / "deploy" / "prometheus"


class Prometheus:
    """Scrapes these targets (by stage), and tells this Alertmanager; all else is as shipped. With `written`, the
    directory of a line's files, all is as written there, but for the Alertmanager."""

    def __init__(
        self, directory: Path, targets: Mapping[str, str], alertmanager: str, written: Path | None = None
    ) -> None:
        if shutil.which("prometheus") is None:
            pytest.skip("needs prometheus")
        place = directory / "prometheus"
        place.mkdir()
        config = ((written or DEPLOY) / "prometheus.yml").read_text()
        assert "127.0.0.1:9093" in config
        (place / "prometheus.yml").write_text(config.replace("127.0.0.1:9093", alertmanager))
        shutil.copy((written or DEPLOY) / "rules.yml", place)
        if written is not None:
            shutil.copytree(written / "targets", place / "targets")
        else:
            (place / "targets").mkdir()
            self._write(place, targets)
        self.url = f"http://127.0.0.1:{free_port()}"
        argv = [
            "prometheus", f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]  # fmt: skip
        self.process = Process(argv, directory / "prometheus.log", ready="Server is ready to receive web requests.")

    @staticmethod
    def _write(place: Path, targets: Mapping[str, str]) -> None:
        entries = [{"targets": [address], "labels": {"stage": stage}} for stage, address in targets.items()]
        (place / "targets" / "andon.yml").write_text(json.dumps(entries))  # JSON is YAML

    def asked(self, query: str) -> list[dict[str, Any]]:
        """What an expression gives now."""
        path = f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(path, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

    def __enter__(self) -> Self:
        self.process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
