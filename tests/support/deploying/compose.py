"""deploy/compose.yaml as Docker's own compose reads it, and each of its services as something that can run here."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.local.kafka.jars import KafkaJars
from pipeline.local.kafka.properties import as_properties
from support.deploying.image import NAME, image
from support.deploying.sandbox import Container, Mount
from support.sources import ROOT
from support.waiting import DEADLINE_SECONDS

FILE = ROOT / "deploy" / "compose.yaml"
COMPOSE = Path(sys.executable).with_name("docker-compose")
# What Kafka's image does not take for a setting of the broker.
NOT_SETTINGS = {"KAFKA_OPTS", "KAFKA_HEAP_OPTS"}
# For a broker that shares this machine with all else.
SMALL = {
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "group.initial.rebalance.delay.ms": "0",
}
Service = dict[str, Any]


def ask(secrets: Path, *words: str, brokers: str = "one") -> str:
    """What Docker's compose says to this; its words are the error, when it refuses."""
    argv = [str(COMPOSE), "--file", str(FILE), "--env-file", str(FILE.parent / "compose" / f"{brokers}.env")]
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "SECRETS_DIR": str(secrets)}
    done = subprocess.run(
        [*argv, *words], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Compose:
    """The resolved file. Volumes are directories of `place`."""

    def __init__(self, place: Path, secrets: Path, brokers: str = "one") -> None:
        self._place = place
        profiles = ["--profile", "tools", *(["--profile", "three"] if brokers == "three" else [])]
        said = ask(secrets, *profiles, "config", "--format", "json", brokers=brokers)
        self.model: dict[str, Any] = json.loads(said)
        self.services: dict[str, Service] = self.model["services"]

    def ours(self) -> list[str]:
        """The services that run Andon's image."""
        return [name for name, service in self.services.items() if service["image"].startswith(NAME)]

    def container(self, name: str) -> Container:
        """A service of ours, as its image and the file have it."""
        service = self.services[name]
        made = image()
        assert service.get("entrypoint") is None
        return Container(
            name,
            [*made.entrypoint, *(service["command"] or [])],
            made.environ | _environment(service),
            self.mounts(service),
            made.user,
            read_only=service.get("read_only", False),
            tmpfs=[path.partition(":")[0] for path in service.get("tmpfs", [])],
            workdir=made.workdir if any(m.target == made.workdir for m in self.mounts(service)) else "/",
        )

    def foreign(self, name: str, argv: list[str], environ: Mapping[str, str] = {}) -> Container:
        """A service of another's image, with a program of this machine in its place."""
        service = self.services[name]
        return Container(name, argv, _environment(service) | dict(environ), self.mounts(service), 0, tmpfs=["/tmp"])

    def mounts(self, service: Service) -> list[Mount]:
        """Secrets, settings and volumes, each at its place inside."""
        found = []
        for kind, folder in (("secrets", "/run/secrets/"), ("configs", "/")):
            for given in service.get(kind) or []:
                target = given.get("target") or given["source"]
                source = Path(self.model[kind][given["source"]]["file"])
                assert source.is_file(), f"{kind}: {source}"
                found.append(Mount(source, target if target.startswith("/") else folder + target))
        for volume in service.get("volumes") or []:
            source = Path(volume["source"]) if volume["type"] == "bind" else self._volume(volume["source"])
            found.append(Mount(source, volume["target"], not volume.get("read_only", False)))
        return found

    def _volume(self, name: str) -> Path:
        assert name in self.model["volumes"]
        path = self._place / "volumes" / name
        if not path.exists():
            path.mkdir(parents=True, mode=0o700)
            if name == "correlate":  # as the image has the directory
                os.chown(path, image().user, image().user)
        return path

    def kafka(self, name: str, jars: KafkaJars) -> Container:
        """Apache Kafka from its jars, with the settings that its image would make of the environment."""
        service = self.services[name]
        given = _environment(service)
        own = {_setting(key): value for key, value in given.items() if _is_setting(key)}
        path = self._place / f"{name}.properties"
        path.write_text(as_properties(own | SMALL))
        log = self._place / "log4j2.properties"
        log.write_text(as_properties({"rootLogger.level": "warn"}))
        jvm = given["KAFKA_OPTS"].split()
        settings = "/etc/kafka.properties"
        form = jars.command(
            "kafka.tools.StorageTool", "format", "-t", given["CLUSTER_ID"], "-c", settings, "--ignore-formatted",
            heap_mib=128,
        )  # fmt: skip
        run = jars.command("kafka.Kafka", settings, heap_mib=384)
        run[1:1] = [*jvm, "-Dlog4j2.configurationFile=/etc/log4j2.properties"]
        script = 'set -e; format=$1; shift; sh -c "$format" > /tmp/format; exec "$@"'
        made = self.foreign(name, ["sh", "-c", script, "kafka", " ".join(form), *run])
        more = [
            Mount(path, settings),
            Mount(log, "/etc/log4j2.properties"),
            Mount(jars.jars.parent, str(jars.jars.parent)),
        ]
        return made._replace(mounts=[*made.mounts, *more])

    def clickhouse(self, model: Path) -> Container:
        """ClickHouse's engine behind HTTP, in place of the server: the same accounts, passwords and port. `model` is a
        directory of an engine in which the migrations have run."""
        data = self._volume("clickhouse") / "data"
        shutil.copytree(model, data, symlinks=True)
        secrets = {mount.target for mount in self.mounts(self.services["clickhouse"])}
        accounts = {"": "andon", "READ_": "andon_read", "WRITE_": "andon_write", "GRAFANA_": "andon_grafana"}
        files = {
            f"ANDON_ENGINE_{key}PASSWORD_FILE": f"/run/secrets/clickhouse-{user}" for key, user in accounts.items()
        }
        assert set(files.values()) < secrets
        where = {"ANDON_ENGINE_HOST": "0.0.0.0", "ANDON_ENGINE_DATA_DIR": "/var/lib/clickhouse/data"}
        return self.foreign("clickhouse", ["andon", "clickhouse"], files | where)


def _environment(service: Service) -> dict[str, str]:
    return {key: str(value) for key, value in (service.get("environment") or {}).items()}


def _is_setting(key: str) -> bool:
    return key.startswith("KAFKA_") and key not in NOT_SETTINGS


def _setting(key: str) -> str:
    """`KAFKA_A_B__C___D` is a.b_c-d."""
    name = key.removeprefix("KAFKA_").lower()
    return name.replace("___", "-").replace("__", "\0").replace("_", ".").replace("\0", "_")
