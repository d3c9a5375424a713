"""How to reach ClickHouse over HTTP, local or real: one configuration for every command that does."""

import logging
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec

from pipeline.runtime.errors import ConfigError
from pipeline.runtime.secrets import read_secret

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Doc = msgspec.Meta

CONNECT_SECONDS = 5


class ClickHouseConfig(msgspec.Struct, frozen=True):
    """Section "clickhouse": where ClickHouse is, who we are there, and which tables are meant."""

    url: Annotated[str, Doc(min_length=1, description="http(s)://host:port", extra={"option": "clickhouse_url"})] = (
        "http://127.0.0.1:8123"
    )
    user: Annotated[str, Doc(min_length=1, description="ClickHouse user", extra={"option": "clickhouse_user"})] = (
        "andon"
    )
    password: Annotated[str, Doc(description="its password; environment or file only")] = ""
    password_file: Annotated[
        str, Doc(description="file that holds the password", extra={"option": "clickhouse_password_file"})
    ] = ""
    database: Annotated[str, Doc(pattern="^[A-Za-z_][A-Za-z0-9_]*$", description="database of Andon's tables")] = (
        "andon"
    )
    cluster: Annotated[
        str,
        Doc(pattern="^[A-Za-z0-9_-]*$", description="a cluster of the server's: replicate and shard; empty: neither"),
    ] = ""
    timeout_seconds: Annotated[int, Doc(ge=1, description="longest wait for an answer")] = 60


def address(config: ClickHouseConfig) -> tuple[str, str, int]:
    """Scheme, host and port of the URL.

    Raises:
        ConfigError: when it is none.
    """
    url = urlsplit(config.url)
    try:
        port = url.port or (8443 if url.scheme == "https" else 8123)
    except ValueError:
        port = 0
    if url.scheme not in ("http", "https") or not url.hostname or not port:
        raise ConfigError(f"clickhouse.url = {config.url!r}: should be http(s)://host:port")
    return url.scheme, url.hostname, port


def connect(config: ClickHouseConfig, *, database: str = "default", timeout_seconds: int = 0) -> "Client":
    """A client without a session: whatever one request sets, the next does not see.

    Raises:
        ConfigError: when the URL is none, or the password's file cannot be read.
        clickhouse_connect.driver.exceptions.Error: when the server refuses or cannot be reached.
    """
    # Here, not above: whoever asks for help does not wait for what the command needs.
    import clickhouse_connect
    from clickhouse_connect import common

    scheme, host, port = address(config)
    # A limited user's limits are not its to set: the server judges, not the client.
    common.set_setting("invalid_setting_action", "send")
    logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)
    return clickhouse_connect.get_client(
        host=host,
        port=port,
        interface=scheme,
        username=config.user,
        password=read_secret(config, "clickhouse"),
        database=database,
        connect_timeout=CONNECT_SECONDS,
        send_receive_timeout=timeout_seconds or config.timeout_seconds,
        autogenerate_session_id=False,
        compress=False,
        query_retries=0,
    )
