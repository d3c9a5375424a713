"""What the stages of a local line are configured with, looked at before the first process starts."""

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.local.machine.process import andon
from pipeline.local.plan import STAGES, Place, Stage
from pipeline.runtime.config import concerns, load
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.wrong import did_you_mean

KAFKA = ("kafka", "pipeline.runtime.kafka:KafkaConfig")
PARTIALS = ("partials", "pipeline.runtime.partials:PartialsConfig")
HOSTS = ("hosts", "pipeline.wire.hosts:HostsConfig")
METRICS = ("metrics", "pipeline.runtime.web.serving:MetricsConfig")
# Imported only when something is set: the supervisor itself needs none of them. A test compares them with the commands.
SECTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "clickhouse": (("engine", "pipeline.local.clickhouse.config:EngineConfig"),),
    "combine": (KAFKA, METRICS, PARTIALS, HOSTS, ("combine", "pipeline.combine.config:CombineConfig")),
    "correlate": (KAFKA, METRICS, PARTIALS, ("correlate", "pipeline.correlate.config:CorrelateConfig")),
    "collect": (KAFKA, METRICS, ("collect", "pipeline.collect.config:CollectConfig")),
    "notify": (
        KAFKA,
        METRICS,
        ("notify", "consumers.notify.config:NotifyConfig"),
        ("trust", "pipeline.halt.trust:TrustConfig"),
    ),
    "archive": (
        KAFKA,
        METRICS,
        HOSTS,
        ("archive", "consumers.clickhouse.archive.config:ArchiveConfig"),
        ("clickhouse", "consumers.clickhouse.connect:ClickHouseConfig"),
        ("trust", "pipeline.halt.trust:TrustConfig"),
    ),
}


def chosen(names: str) -> list[Stage]:
    """The stages named in a comma-separated list, what they need, and the broker, in the order of the table.

    Raises:
        ConfigError: for a name that is in no row.
    """
    wanted = {"broker"}
    for name in (part.strip() for part in names.split(",") if part.strip()):
        if name not in STAGES:
            near = did_you_mean(name, STAGES)
            raise ConfigError(f"up.stages = {names!r}: no stage {name!r}; known: {', '.join(STAGES)}{near}")
        wanted |= {name, *STAGES[name].needs}
    return [stage for stage in STAGES.values() if stage.name in wanted]


def check(stages: Iterable[Stage], at: Place, file: Path | None, environ: Mapping[str, str]) -> None:
    """Raises ConfigError for the first setting that a stage would refuse."""
    for stage in stages:
        for section, where in SECTIONS.get(stage.name, ()):
            if file is not None or concerns(section, environ):
                module, name = where.split(":")
                cls = getattr(importlib.import_module(module), name)
                load(cls, section, file=file, environ=environ, options=_options(stage.argv(at)))


def _options(argv: list[str]) -> dict[str, str]:
    words = argv[len(andon()) + 1 :]
    return {key.removeprefix("--").replace("-", "_"): value for key, value in zip(words[::2], words[1::2], strict=True)}
