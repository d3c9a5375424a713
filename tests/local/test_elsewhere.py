"""What was set for some other cluster, in the environment or in a file, does not reach a local line."""

from pathlib import Path

import pytest

from pipeline.demo import stored as demo_archive
from pipeline.local.stack import LocalStack

pytestmark = pytest.mark.service

ENVIRON = {
    "ANDON_ARCHIVE_CLICKHOUSE_URL": "https://clickhouse.example:8443",  # as it was called once
    "ANDON_CLICKHOUSE_CLUSTER": "foo",
    "ANDON_CLICKHOUSE_DATABASE": "production",
    "ANDON_CLICKHOUSE_PASSWORD": "zzz",
    "ANDON_CLICKHOUSE_URL": "https://clickhouse.example:8443",
    "ANDON_ENGINE_PASSWORD": "zzz",
    "ANDON_ENGINE_WRITE_PASSWORD": "zzz",
    "ANDON_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "ANDON_KAFKA_TOPIC_PREFIX": "env.",
    "ANDON_METRICS_METRICS_HOST": "192.0.2.1",
    "ANDON_CORRELATE_WEB_HOST": "192.0.2.1",
    "ANDON_PARTIALS_SECRET": "short",
    "ANDON_UP_STAGES": "",
}
FILE = """
[kafka]
bootstrap_servers = "kafka.example:9093"
security_protocol = "SASL_SSL"
sasl_username = "andon"
sasl_password = "secret"
ssl_ca_file = "/nowhere/ca.pem"
topic_prefix = "prod."

[clickhouse]
url = "https://clickhouse.example:8443"
password = "secret"
cluster = "prod"
database = "production"
"""


def test_settings_of_another_cluster_do_not_reach_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With both, every stage is ready, none was started twice, and ClickHouse has Andon's tables where they belong."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "prod.toml"
    file.write_text(FILE, "utf-8")
    with LocalStack(config=file) as line:
        assert {name for name, stage in line.refresh().stages.items() if stage.state == "up"} == {
            "broker",
            "clickhouse",
            "combine",
            "correlate",
            "collect",
            "archive",
        }
        assert {stage.restarts for stage in line.info.stages.values()} == {0}
        assert demo_archive.wait_for_events(line.info, line.info.fleet, 0, 0.0) == 0
