"""Where `andon halts` looks: what is configured, else the local line that runs."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
import msgspec
from click.core import ParameterSource

from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.halt.believe import TrustedKeys
from pipeline.halt.trust import TrustConfig
from pipeline.local import datadir, stack
from pipeline.runtime.config import configured
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.kafka import KafkaConfig

F = TypeVar("F", bound=Callable[..., Any])

OF_CLICKHOUSE = tuple(field.name for field in msgspec.structs.fields(ClickHouseConfig))


class Where(NamedTuple):
    """`clickhouse` is None where none is configured."""

    kafka: KafkaConfig
    trusted: TrustedKeys
    clickhouse: ClickHouseConfig | None


def options(unused: Iterable[str]) -> Callable[[F], F]:
    """The options of every command here. Keys of ClickHouse that are `unused` by it are taken, but not in its help."""
    data_dir = click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=datadir.DEFAULT,
        envvar="ANDON_DATA_DIR",
        show_default=True,
        help="Of the local line; not needed with --bootstrap-servers.",
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of a screen.")
    sections = ("kafka", KafkaConfig), ("clickhouse", ClickHouseConfig), ("trust", TrustConfig)
    settings = configured(*sections, unused=unused)

    def decorate(function: F) -> F:
        wrapped: F = as_json(data_dir(settings(function)))
        return wrapped

    return decorate


def where(kafka: KafkaConfig, clickhouse: ClickHouseConfig, trust: TrustConfig, data_dir: Path) -> Where:
    """What is meant, filled up from the local line if that is.

    Raises:
        ConfigError: when there are no keys: then nothing could be believed.
        AndonError: when the local line is meant, and none runs.
    """
    source = click.get_current_context().get_parameter_source("bootstrap_servers")
    found = None if clickhouse == ClickHouseConfig() else clickhouse
    if stack.meant(data_dir.absolute(), kafka, source is ParameterSource.COMMANDLINE):
        info = stack.running(data_dir.absolute())
        if info is None:
            raise AndonError(f"nothing runs in {data_dir.absolute()}: start it with `andon up`, or name a cluster")
        kafka = info.kafka
        trust = trust if trust.keys_dir else TrustConfig(keys_dir=info.keys_dir)
        if found is None and info.clickhouse_url:
            found = msgspec.structs.replace(
                clickhouse,
                url=info.clickhouse_url,
                user=info.clickhouse_reader,
                password_file=info.clickhouse_reader_password_file,
            )
    trusted = trust.keys()
    if not trusted:
        holds = f"{trust.keys_dir} holds none" if trusted is not None else "none is set"
        raise ConfigError(
            f"nothing could be believed without the correlator's public keys, and {holds}: "
            "--trusted-keys-dir (trust.keys_dir) names the directory with KID.pub.pem"
        )
    return Where(kafka, trusted, found)
