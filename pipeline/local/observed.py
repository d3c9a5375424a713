"""How a local line is observed: the supervisor's own metrics, and Prometheus's files for all that runs here."""

import asyncio
import sysconfig
from pathlib import Path

import msgspec

from pipeline.local.machine.files import write_private
from pipeline.local.machine.ports import LOOPBACK
from pipeline.local.stack import StackInfo
from pipeline.local.supervisor import Supervisor
from pipeline.runtime.web.serving import MetricsConfig, Pulse, serve, show_disk

PORT, STAGE = "up-metrics", "up"  # of the supervisor: the name of its port, and what Prometheus knows it by
DIRECTORY = "prometheus"  # in the data directory
CONFIG, RULES, TARGETS = "prometheus.yml", "rules.yml", "targets"
# Where they are shipped: beside the sources, or where the package has put them.
SHIPPED = (
    Path(__file__).parents[2] / "deploy" / "prometheus",
    Path(sysconfig.get_path("data")) / "share" / "andon" / "prometheus",
)


def serve_own(port: int, data_dir: Path, supervisor: Supervisor) -> "asyncio.Task[None]":
    """Serve the supervisor's metrics, and whether all is up; the task that says that its loop turns.

    Raises:
        ConfigError: when the port cannot be listened on.
    """
    pulse = Pulse()
    pulse.view = lambda: {"why_not": _not_up(supervisor)}
    show_disk("data", data_dir)
    serve(MetricsConfig(metrics_port=port), pulse.health())
    return asyncio.create_task(pulse.turn())


def _not_up(supervisor: Supervisor) -> list[str]:
    return [f"{name}: {stage.info.state}" for name, stage in supervisor.stages.items() if stage.info.state != "up"]


def targets(info: StackInfo) -> dict[str, int]:
    """Ports that serve metrics, by stage: of all that runs here."""
    ports = {name: stage.metrics_port for name, stage in info.stages.items()} | {STAGE: info.metrics_port}
    return {name: port for name, port in ports.items() if port}


def write_prometheus(info: StackInfo) -> None:
    """Files for a Prometheus of one's own: the configuration and the rules as shipped, and as targets what runs here,
    on the ports of this start. `info` then says where. Raises OSError."""
    shipped = next((place for place in SHIPPED if (place / CONFIG).is_file()), None)
    place = Path(info.data_dir) / DIRECTORY
    (place / TARGETS).mkdir(mode=0o700, parents=True, exist_ok=True)
    entries = [
        {"targets": [f"{LOOPBACK}:{port}"], "labels": {"stage": stage}} for stage, port in sorted(targets(info).items())
    ]
    write_private(place / TARGETS / "andon.json", msgspec.json.format(msgspec.json.encode(entries)).decode() + "\n")
    if shipped is not None:
        config = (shipped / CONFIG).read_text("utf-8").replace(f"{TARGETS}/*.yml", f"{TARGETS}/*.json")
        write_private(place / CONFIG, config)
        write_private(place / RULES, (shipped / RULES).read_text("utf-8"))
        info.prometheus_file = str(place / CONFIG)
