"""What is to be looked at: what is configured, filled up from the local line that runs."""

from typing import Annotated

import msgspec

from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.halt.trust import TrustConfig
from pipeline.local import stack
from pipeline.runtime.kafka import KafkaConfig

Doc = msgspec.Meta

# Whose rights on Kafka are known: the keys of `rights.NEEDS`, without all that it needs to know them.
STAGES = (
    "topics", "collect", "combine", "correlate", "archive", "subscriber", "notify", "operator", "watch", "deadletter",
    "replay", "backup",
)  # fmt: skip
RENAMED = {"rollout": "subscriber"}


class DoctorConfig(msgspec.Struct, frozen=True):
    """Section `doctor`: what the other sections do not say."""

    gateway_url: Annotated[str, Doc(description="http(s)://host:port of the gateway")] = ""
    gateway_token_file: Annotated[str, Doc(description="file that holds a sender's token, to try it")] = ""
    combine_url: Annotated[str, Doc(description="http(s)://host:port of the combiner's metrics")] = ""
    correlate_url: Annotated[str, Doc(description="http(s)://host:port of the correlator's web view")] = ""
    archive_url: Annotated[str, Doc(description="http(s)://host:port of the archive's metrics")] = ""
    notify_url: Annotated[str, Doc(description="http(s)://host:port of notify's metrics")] = ""
    max_skew_seconds: Annotated[float, Doc(gt=0, description="difference of clocks that is tolerated")] = 5.0


class Targets(msgspec.Struct, frozen=True):
    """Everything to be looked at; None or "" is not configured."""

    kafka: KafkaConfig
    clickhouse: ClickHouseConfig | None
    doctor: DoctorConfig
    stage: str | None = None  # that the account is to run
    trust: TrustConfig = TrustConfig()
    data_dir: str = ""  # of a local line
    is_open_line: bool = False  # a local line whose broker asks nobody who they are


def targets(
    doctor: DoctorConfig, kafka: KafkaConfig, clickhouse: ClickHouseConfig, info: stack.StackInfo | None
) -> Targets:
    """What is configured, filled up from the running local line if there is one."""
    if info is None:
        return Targets(kafka, None if clickhouse == ClickHouseConfig() else clickhouse, doctor)
    local = msgspec.structs.replace(
        doctor,
        gateway_url=doctor.gateway_url or info.gateway_url,
        gateway_token_file=doctor.gateway_token_file or ("" if doctor.gateway_url else info.gateway_token_file),
        combine_url=doctor.combine_url or info.metrics_url("combine"),
        correlate_url=doctor.correlate_url or info.correlate_url,
        archive_url=doctor.archive_url or info.metrics_url("archive"),
        notify_url=doctor.notify_url or info.metrics_url("notify"),
    )
    trust = TrustConfig(keys_dir=info.keys_dir)
    is_open = not info.kafka_username
    return Targets(info.kafka, _clickhouse(clickhouse, info), local, trust=trust, is_open_line=is_open)


def _clickhouse(clickhouse: ClickHouseConfig, info: stack.StackInfo) -> ClickHouseConfig | None:
    """The line's server, with what else is configured; another server never gets the line's credentials."""
    default = ClickHouseConfig()
    if clickhouse.url != default.url or not info.clickhouse_url:
        return None if clickhouse == default else clickhouse
    user = clickhouse.user if clickhouse.user != default.user else info.clickhouse_user
    has_password = clickhouse.password or clickhouse.password_file or user != info.clickhouse_user
    return msgspec.structs.replace(
        clickhouse,
        url=info.clickhouse_url,
        user=user,
        password_file=clickhouse.password_file if has_password else info.clickhouse_password_file,
    )
