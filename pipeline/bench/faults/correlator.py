"""The correlator of a scenario: a stage, and its view."""

from typing import Any

from pipeline.bench.faults.under_test import LineUnderTest
from pipeline.bench.view import get
from pipeline.local.machine.ports import LOOPBACK, free_port
from pipeline.local.machine.process import Process


class Correlate:
    """A correlator and its view."""

    def __init__(self, stage: Process, url: str) -> None:
        self.stage, self.url = stage, url

    def is_ready(self) -> bool:
        """Recovered and serving."""
        return get(self.url + "/health") is not None

    def fleets(self) -> dict[str, dict[str, Any]]:
        """Fleets of the view by name; empty while it is not ready."""
        shown = get(self.url + "/state")
        return {fleet["fleet"]: fleet for fleet in shown["fleets"]} if shown and shown["ready"] else {}


def correlator(line: LineUnderTest, name: str = "correlate", prefix: str = "") -> Correlate:
    """Started; it is ready some time later."""
    port = free_port()
    own = ("--data-dir", line.directory / name, "--web-port", port, "--checkpoint-seconds", 2)
    policy = ("--policy-file", line.directory / "policy.toml")
    return Correlate(line.stage("correlate", *own, *policy, prefix=prefix), f"http://{LOOPBACK}:{port}")
