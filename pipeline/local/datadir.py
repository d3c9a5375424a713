"""The data directory of a local line: private to its owner, locked by the one line that runs in it, with its secrets.

andon.lock   held by the supervisor and by every process it starts, so it is free only when all of them are gone
stack.json   what runs and where, present only while the line is ready
ports.json   the ports last used, so that what was connected once finds the line again
secrets/     gateway token, Kafka's password, the seal of partials, made on first start; ClickHouse's passwords, made
             at every one (0600)
logs/        andon.log, the merged log
broker/ clickhouse/ correlate/   each stage's own
"""

import fcntl
import os
import secrets
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from pipeline.collect.tokens import add_token
from pipeline.local.machine.files import write_private
from pipeline.runtime import errors
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig, client_config

LOCK = "andon.lock"
DEFAULT = Path(".andon")


def writable(path: Path) -> AbstractContextManager[None]:
    """What the system refuses inside is a ConfigError about `path`."""
    return errors.writable("up.data_dir", path)


def _probe(path: Path) -> None:
    """That it can be written to is known now, not when half of the line runs."""
    try:
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        error.filename = str(path)  # not the random name
        raise


def prepare(path: Path) -> Path:
    """Create the directory (0700), or refuse one that others may read; returns the absolute path.

    Raises:
        ConfigError: when it cannot be made, or holds somebody's files and is open to others.
    """
    path = path.absolute()
    with writable(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            if any(path.iterdir()) and not (path / LOCK).exists():
                raise ConfigError(
                    f"up.data_dir = {str(path)!r} holds other files and is open to other users (mode {mode:o}): "
                    "name a directory of its own, which will be made with mode 700"
                )
            path.chmod(0o700)
        _probe(path)
        for part in ("secrets", "logs", "broker", "clickhouse", "correlate"):
            (path / part).mkdir(mode=0o700, exist_ok=True)
    return path


def lock(data_dir: Path) -> int:
    """Take the directory for this line; returns the descriptor that holds it, to be handed to every child.

    Raises:
        AndonError: when a line runs here, or one that was killed has not wholly gone yet.
        ConfigError: when it cannot be written to.
    """
    with writable(data_dir):
        descriptor = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise AndonError(
            f"a line already runs in {data_dir} (supervisor process {holder}): "
            "see it with `andon status`, stop it with Ctrl-C or SIGTERM, or name another --data-dir"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def is_locked(data_dir: Path) -> bool:
    """Whether a line (or what is left of one) holds the directory."""
    try:
        descriptor = os.open(data_dir / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


class Secrets:
    """Paths of the secrets; `make` writes them."""

    def __init__(self, data_dir: Path) -> None:
        folder = data_dir / "secrets"
        self.clickhouse_password_file = folder / "clickhouse-password"
        self.clickhouse_read_password_file = folder / "clickhouse-read-password"
        self.clickhouse_write_password_file = folder / "clickhouse-write-password"
        self.clickhouse_grafana_password_file = folder / "clickhouse-grafana-password"
        self.kafka_password_file = folder / "kafka-password"
        self.kafka_client_file = folder / "kafka-client.properties"
        self.partials_secret_file = folder / "partials-secret"
        self.gateway_token_file = folder / "gateway-token"
        self.gateway_tokens_file = folder / "gateway-tokens.toml"

    def make(self, fleet: str) -> "Secrets":
        """Random passwords of ClickHouse for this start; on the first what others keep (the token, Kafka's password)
        and what records bear (the seal). The gateway's file holds only the token's SHA-256, with its fleet."""
        for file in (
            self.clickhouse_password_file,
            self.clickhouse_read_password_file,
            self.clickhouse_write_password_file,
            self.clickhouse_grafana_password_file,
        ):
            write_private(file, secrets.token_urlsafe(24) + "\n")
        for file in (self.kafka_password_file, self.partials_secret_file):
            if not file.exists():
                write_private(file, secrets.token_urlsafe(32) + "\n")
        if not self.gateway_token_file.exists() or not self.gateway_tokens_file.exists():
            write_private(self.gateway_token_file, add_token(self.gateway_tokens_file, fleet) + "\n")
        return self

    def write_client(self, kafka: KafkaConfig) -> None:
        """The file that lets a client of librdkafka in (kcat -F), for a password has no place on a command line; none
        where there is no password."""
        if not kafka.sasl_username:
            self.kafka_client_file.unlink(missing_ok=True)
            return
        wanted = ("bootstrap.servers", "security.protocol", "sasl.mechanism", "sasl.username", "sasl.password")
        settings = client_config(kafka, "")
        write_private(self.kafka_client_file, "".join(f"{name}={settings[name]}\n" for name in wanted))
