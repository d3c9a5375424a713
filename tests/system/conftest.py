"""The line that the tests of this folder share."""

from collections.abc import Iterator

import pytest
from support.outside import Line

# What was set for some other cluster, in the environment and in a file: none of it may reach a local line.
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


@pytest.fixture(scope="package")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The whole line, started once among settings of another cluster: each test uses a fleet of its own. It ends with
    the last of them, for even idle it takes CPU."""
    place = tmp_path_factory.mktemp("system")
    file = place / "elsewhere.toml"
    file.write_text(FILE, "utf-8")
    running = Line(place / "line", "--config", str(file), environ=ENVIRON)
    yield running
    assert running.stop() == 0
