"""Configuration of the embedded ClickHouse engine: where it listens, who may come in, and its bounds."""

import os
from typing import Annotated

import msgspec

from pipeline.local.clickhouse.accounts import (
    GRAFANA,
    OWNER,
    READER,
    WRITER,
    Account,
    analyst,
    grafana,
    owner,
    writer,
)
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.secrets import read_secret

Doc = msgspec.Meta

READY = "andon clickhouse ready"


class EngineConfig(msgspec.Struct, frozen=True):
    """Section "engine": of the embedded ClickHouse, which `andon clickhouse` serves."""

    data_dir: Annotated[str, Doc(min_length=1, description="directory of the engine's data")] = ".andon/clickhouse"
    host: Annotated[str, Doc(min_length=1, description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Doc(ge=0, le=65535, description="port to listen on, 0 for any free one")] = 8123
    listen_fd: Annotated[
        int, Doc(ge=-1, description="listening socket that was handed down, instead of host and port; -1: none")
    ] = -1
    user: Annotated[str, Doc(min_length=1, description="owner: may do everything in the engine")] = OWNER
    password: Annotated[str, Doc(description="its password; environment or file only")] = ""
    password_file: Annotated[str, Doc(description="file that holds the password")] = ""
    read_user: Annotated[str, Doc(min_length=1, description="user who may only read")] = READER
    read_password: Annotated[str, Doc(description="its password; environment or file only")] = ""
    read_password_file: Annotated[str, Doc(description="file that holds it; without one there is no such user")] = ""
    grafana_user: Annotated[str, Doc(min_length=1, description="the same for dashboards, with tighter limits")] = (
        GRAFANA
    )
    grafana_password: Annotated[str, Doc(description="its password; environment or file only")] = ""
    grafana_password_file: Annotated[str, Doc(description="file that holds it; without one there is no such user")] = ""
    write_user: Annotated[str, Doc(min_length=1, description="user who may only insert")] = WRITER
    write_password: Annotated[str, Doc(description="its password; environment or file only")] = ""
    write_password_file: Annotated[str, Doc(description="file that holds it; without one there is no such user")] = ""
    max_execution_time_seconds: Annotated[int, Doc(ge=0, description="default limit of a statement, 0 for none")] = 60
    max_memory_bytes: Annotated[int, Doc(ge=0, description="of the process, 0 for half of the machine's")] = 0
    max_body_bytes: Annotated[int, Doc(ge=1024, description="largest request body, decompressed")] = 256 * 1024 * 1024


def accounts(config: EngineConfig) -> list[Account]:
    """Raises ConfigError without the owner's password: there is no open door, not even on loopback."""
    password = read_secret(config, "engine")
    if not password:
        raise ConfigError(
            "engine.password is empty: set ANDON_ENGINE_PASSWORD or --password-file (ANDON_CLICKHOUSE_PASSWORD is what "
            "other commands log in with)"
        )
    return [
        owner(config.user, password),
        analyst(config.read_user, read_secret(config, "engine", "read_password"), memory_bytes(config)),
        grafana(config.grafana_user, read_secret(config, "engine", "grafana_password"), memory_bytes(config)),
        writer(config.write_user, read_secret(config, "engine", "write_password")),
    ]


def memory_bytes(config: EngineConfig) -> int:
    """What the whole process may use."""
    return config.max_memory_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
