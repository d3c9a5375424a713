"""How to reach ClickHouse over HTTP, local or real: one configuration for every command that does."""

import logging
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import clickhouse_connect
import msgspec
from clickhouse_connect import common
from clickhouse_connect.driver.client import Client

from pipeline.runtime.errors import ConfigError

Doc = msgspec.Meta

CONNECT_SECONDS = 5


class ClickHouseServer(msgspec.Struct, frozen=True):
    """Where ClickHouse is and who we are there; section "archive"."""

    clickhouse_url: Annotated[str, Doc(min_length=1, description="http(s)://host:port")] = "http://127.0.0.1:8123"
    clickhouse_user: Annotated[str, Doc(min_length=1, description="ClickHouse user")] = "andon"
    clickhouse_password: Annotated[str, Doc(description="its password; environment or file only")] = ""
    clickhouse_password_file: Annotated[str, Doc(description="file that holds the password")] = ""
    database: Annotated[str, Doc(pattern="^[A-Za-z_][A-Za-z0-9_]*$", description="database of Andon's tables")] = (
        "andon"
    )
    cluster: Annotated[
        str,
        Doc(pattern="^[A-Za-z0-9_-]*$", description="a cluster of the server's: replicate and shard; empty: neither"),
    ] = ""
    timeout_seconds: Annotated[int, Doc(ge=1, description="longest wait for an answer")] = 60


def password(config: ClickHouseServer) -> str:
    """The password itself.

    Raises:
        ConfigError: when its file cannot be read.
    """
    if config.clickhouse_password or not config.clickhouse_password_file:
        return config.clickhouse_password
    try:
        return Path(config.clickhouse_password_file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        name = config.clickhouse_password_file
        raise ConfigError(f"archive.clickhouse_password_file = {name!r}: cannot be read: {error}") from None


def connect(config: ClickHouseServer, *, database: str = "default", timeout_seconds: int = 0) -> Client:
    """A client without a session: whatever one request sets, the next does not see.

    Raises:
        ConfigError: when the URL is none.
        clickhouse_connect.driver.exceptions.Error: when the server refuses or cannot be reached.
    """
    url = urlsplit(config.clickhouse_url)
    try:
        port = url.port or (8443 if url.scheme == "https" else 8123)
    except ValueError:
        port = 0
    if url.scheme not in ("http", "https") or not url.hostname or not port:
        raise ConfigError(f"archive.clickhouse_url = {config.clickhouse_url!r}: should be http(s)://host:port")
    # A limited user's limits are not its to set: the server judges, not the client.
    common.set_setting("invalid_setting_action", "send")
    logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)
    return clickhouse_connect.get_client(
        host=url.hostname,
        port=port,
        interface=url.scheme,
        username=config.clickhouse_user,
        password=password(config),
        database=database,
        connect_timeout=CONNECT_SECONDS,
        send_receive_timeout=timeout_seconds or config.timeout_seconds,
        autogenerate_session_id=False,
        compress=False,
        query_retries=0,
    )
