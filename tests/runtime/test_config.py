"""Configuration: which of several places holds, and what is said about a mistake in one of them."""

import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from consumers.clickhouse.archive.config import ArchiveConfig
from consumers.clickhouse.connect import ClickHouseConfig
from pipeline.access.main import command as topics_command
from pipeline.collect.config import CollectConfig
from pipeline.local.clickhouse.config import EngineConfig
from pipeline.local.up import UpConfig
from pipeline.runtime.config import concerns, load, refuse_strangers
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.renamed import RENAMED
from pipeline.runtime.secrets import read_secret


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its configuration."""
    return tmp_path / "andon.toml"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file that holds a password."""
    path = tmp_path / "password"
    path.write_text("of the file\n", "utf-8")
    return path


def password(file: Path | None, environ: dict[str, str], **options: str) -> str:
    """What the section `clickhouse` of these says."""
    section = "clickhouse"
    return read_secret(load(ClickHouseConfig, section, file=file, environ=environ, options=options), section)


def test_the_higher_level_says_where_a_secret_is(file: Path, secret_file: Path) -> None:
    """`--…-password-file` beats a password in the environment, and either there beats the configuration file."""
    file.write_text(f'[clickhouse]\npassword_file = "{secret_file}"', "utf-8")
    named, given = {"clickhouse_password_file": str(secret_file)}, {"ANDON_CLICKHOUSE_PASSWORD": "given"}
    assert password(None, given) == "given"
    assert password(None, given, **named) == "of the file"
    assert password(file, {}) == "of the file"
    assert password(file, given) == "given"
    file.write_text('[clickhouse]\npassword = "in the configuration"', "utf-8")
    assert password(file, {}) == "in the configuration"
    assert password(file, {"ANDON_CLICKHOUSE_PASSWORD_FILE": str(secret_file)}) == "of the file"


def test_an_empty_secret_is_none(file: Path, secret_file: Path) -> None:
    """An empty variable, as compose files leave them, does not take away what a lower level names."""
    file.write_text(f'[clickhouse]\npassword_file = "{secret_file}"', "utf-8")
    assert password(file, {"ANDON_CLICKHOUSE_PASSWORD": ""}) == "of the file"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[kafak]\nbootstrap_servers = 'a:1'", "andon.toml: unknown section [kafak]; known: [kafka], [metrics], "),
        ("[[kafak]]", "unknown section [kafak]; known: [kafka]"),
        ("sasl_password = 'hunter2'", "unknown key sasl_password outside of any section; known: [kafka]"),
        ("kafka = 3", "andon.toml: kafka = 3: should be a section: a line [kafka], its keys below it"),
        ("[[kafka]]\nbootstrap_servers = 'a:1'", "kafka = [{'bootstrap_servers': 'a:1'}]: should be a section"),
        ("up = 3", "andon.toml: up = 3: should be a section"),
        ("[kafka]\nsasl_pasword = 'hunter2'", "unknown key kafka.sasl_pasword; known: bootstrap_servers, sasl_mech"),
        ("[kafka]\nsecurity_protocol = 'FOO'", "'FOO' (set by "),
        ("[kafka]\nsecurity_protocol = 'FOO'", "andon.toml): one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        ("[kafka]\nbootstrap_servers = 3", "kafka.bootstrap_servers = 3 (set by "),
        ("[kafka]\nsasl_password = 3", "kafka.sasl_password = *** (set by "),
    ],
)
def test_a_mistake_in_the_file_is_named(file: Path, text: str, words: str) -> None:
    """File, section, key and what would be right, whatever section the command reads; never a secret."""
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as error:
        load(KafkaConfig, "kafka", file=file, environ={}, options={})
    assert words in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_misspelt_section_stops_a_command(file: Path) -> None:
    """`andon topics apply` does not go to the default address instead."""
    file.write_text("[kafak]\nbootstrap_servers = 'kafka.example:9093'", "utf-8")
    ended = CliRunner().invoke(topics_command, ["apply", "--config", str(file)])
    assert isinstance(ended.exception, ConfigError)
    assert "[kafak]" in str(ended.exception)


OLD = {
    "archive.clickhouse_url": "clickhouse.url",
    "archive.clickhouse_password": "clickhouse.password",
    "archive.database": "clickhouse.database",
    "clickhouse.port": "engine.port",
    "clickhouse.read_password": "engine.read_password",
    "clickhouse.write_password_file": "engine.write_password_file",
}


@pytest.mark.parametrize(("old", "new"), OLD.items())
def test_an_old_name_is_refused(file: Path, old: str, new: str) -> None:
    """In a file whatever the command reads, in the environment when it reads what the setting is in now: with its
    value, if that is no secret, and with the name of today."""
    (was, key), now = old.split("."), new.partition(".")[0]
    cls, shown = {"clickhouse": ClickHouseConfig, "engine": EngineConfig}[now], "***" if key.endswith("word") else "'v'"
    file.write_text(f"[{was}]\n{key} = 'v'", "utf-8")
    with pytest.raises(ConfigError) as error:
        load(KafkaConfig, "kafka", file=file, environ={}, options={})
    assert str(error.value) == f"{old} = {shown} (set by {file}): this is called {new} now"
    environ = {f"ANDON_{old.replace('.', '_')}".upper(): "v"}
    assert concerns(now, environ)
    with pytest.raises(ConfigError) as error:
        load(cls, now, file=None, environ=environ, options={})
    called = f"ANDON_{new.replace('.', '_')}".upper()
    assert str(error.value) == f"{next(iter(environ))} = {shown}: this is called {called} now"
    assert load(KafkaConfig, "kafka", file=None, environ=environ, options={}) == KafkaConfig()


@pytest.mark.parametrize("section", ["archive", "clickhouse", "engine"])
def test_an_old_name_names_a_key_that_there_is(section: str) -> None:
    """And was none of today's: no setting is refused that has not moved."""
    sections = {"archive": ArchiveConfig, "clickhouse": ClickHouseConfig, "engine": EngineConfig}
    keys = {field.name for field in msgspec.structs.fields(sections[section])}
    assert {new.key for new in RENAMED.values() if new.section == section} <= keys
    assert not {old.key for old in RENAMED if old.section == section} & keys


@pytest.mark.parametrize("value", ["foo", ""])
def test_a_word_that_is_none_of_those_known(value: str) -> None:
    """On the command line too: the words that there are."""
    with pytest.raises(ConfigError, match=rf"up.broker = '{value}' \(set by --broker\): one of embedded, kafka"):
        load(UpConfig, "up", file=None, environ={}, options={"broker": value})


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        (
            "ANDON_KAFKA_BOOTSTRAP_SERVER",
            "no such key; known: .*did you mean ANDON_KAFKA_BOOTSTRAP_",
        ),
        ("ANDON_KAFAK_BOOTSTRAP_SERVERS", "nothing reads it; .*did you mean kafka"),
        ("ANDON_BOOTSTRAP_SERVERS", "nothing reads it"),
        ("ANDON_CONFGI", "beside ANDON_CONFIG and ANDON_DATA_DIR"),
    ],
)
def test_a_misspelt_variable_is_refused(variable: str, words: str) -> None:
    """Like a misspelt key in a file: it is named, and so is what may be meant; its value, maybe a secret, is not."""
    result = CliRunner().invoke(topics_command, ["list"], env={variable: "SESAME"})
    assert isinstance(result.exception, ConfigError)
    assert re.search(f"^{variable} is set in the environment, and .*{words}", str(result.exception))
    assert "SESAME" not in str(result.exception)


@pytest.mark.parametrize(
    "variable",
    [
        "ANDON_CONFIG",
        "ANDON_PORT",
        "ANDON_KAFKA_SERVICE_HOST",
        "ANDON_KAFKA_SERVICE_PORT_SASL",
        "ANDON_KAFKA_PORT_9092_TCP",
    ],
)
def test_what_is_somebody_elses_is_let_be(variable: str) -> None:
    """Kubernetes sets such variables beside services called andon…; a key of another section is another command's."""
    others = {variable: "1", "ANDON_COMBINE_BATCH_MS": "9"}
    load(KafkaConfig, "kafka", file=None, environ=others, options={})
    refuse_strangers(others)


@pytest.mark.parametrize("variable", ["ANDON_KAFKA_PORT", "ANDON_GATEWAY_PORT", "ANDON_COLLECT_PORT"])
def test_a_service_called_like_a_section_is_no_setting(variable: str) -> None:
    """Kubernetes says where it is in a variable that could be a key, or is one: its value tells it from ours."""
    links = {variable: "tcp://10.0.0.7:9092"}
    refuse_strangers(links)
    load(KafkaConfig, "kafka", file=None, environ=links, options={})
    assert load(CollectConfig, "collect", file=None, environ=links, options={"tokens_file": "t"}).port == 8080
    assert not concerns("kafka", links)
    assert not concerns("collect", links)
