"""What a person is told about a line: how to come in without a password on a command line, and who else may."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.local import datadir, plan
from pipeline.local.guide import OPEN, after_demo, env_file, guide, write_env
from pipeline.local.kafka.security import Open, Sasl, Security
from pipeline.local.stack import STACK_FILE, StageInfo
from pipeline.runtime.kafka import KafkaConfig, client_config

PORTS = {"broker": 19092, "clickhouse": 18123, "collect": 18080, "correlate": 16066}
PASSWORD = "the-password-of-the-line"


def place(data_dir: Path, security: Security) -> plan.Place:
    """Where such a line would be."""
    secrets = datadir.Secrets(datadir.prepare(data_dir)).make("acme")
    secrets.write_client(security.guest("127.0.0.1:19092"))
    metrics = {f"{stage}-metrics": 17000 + number for number, stage in enumerate(plan.STAGES)}
    return plan.Place(data_dir, PORTS | metrics, secrets, ("broker",), security)


def told(at: plan.Place) -> str:
    """All that is said of it, and all that runs in it."""
    info = plan.describe(at, "acme", {name: StageInfo() for name in plan.STAGES})
    write_env(info, set(plan.STAGES))
    assert env_file(info).stat().st_mode & 0o077 == 0
    commands = [env_file(info).read_text(), *(shlex.join(stage.argv(at)) for stage in plan.STAGES.values())]
    return "\n".join(
        [guide(info, set(plan.STAGES)), after_demo(info, Path("keys"), (), keep=True, kept=True), *commands]
    )


def test_a_broker_that_asks_nobody_is_said(tmp_path: Path) -> None:
    """The embedded one, in the ready block; there is no file to come in with."""
    at = place(tmp_path / "line", Open())
    assert OPEN in " ".join(told(at).split())
    assert not at.secrets.kafka_client_file.exists()
    assert plan.describe(at, "acme", {}).kafka == KafkaConfig(bootstrap_servers="127.0.0.1:19092")


@pytest.mark.parametrize("stage", ["combine", "correlate", "collect", "archive", "notify"])
def test_with_accounts_every_stage_is_told_the_file(tmp_path: Path, stage: str) -> None:
    """And whoever finds the line by its data directory; the password itself stands in files of mode 600 only."""
    at = place(tmp_path / "line", Sasl("andon", PASSWORD))
    file = str(at.secrets.kafka_password_file)
    words = plan.STAGES[stage].argv(at)
    assert words[words.index("--sasl-password-file") + 1] == file
    found = plan.describe(at, "acme", {}).kafka
    assert (found.security_protocol, found.sasl_username, found.sasl_password_file) == ("SASL_PLAINTEXT", "andon", file)
    at.secrets.kafka_password_file.write_text(PASSWORD + "\n")
    assert client_config(found, "test")["sasl.password"] == PASSWORD


def test_nothing_that_is_told_has_a_password_in_it(tmp_path: Path) -> None:
    """kcat reads it from a file that only the owner can; the guest's is another at every start."""
    at = place(tmp_path / "line", Sasl("andon", PASSWORD))
    text, file = told(at), at.secrets.kafka_client_file
    lines = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert f"kcat -C -F {file}" in text
    assert f"ANDON_KAFKA_SASL_PASSWORD_FILE={at.secrets.kafka_password_file}" in text
    assert f"ANDON_TRUST_KEYS_DIR={at.data_dir}" in text
    assert OPEN not in " ".join(text.split())
    assert PASSWORD not in text
    assert lines["sasl.password"] not in text
    assert lines["bootstrap.servers"] == "127.0.0.1:19092"
    assert file.stat().st_mode & 0o077 == 0
    again = place(tmp_path / "line", Sasl("andon", PASSWORD)).secrets.kafka_client_file.read_text()
    assert lines["sasl.password"] not in again


@pytest.mark.service
def test_the_ready_block_is_short_and_its_file_is_for_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a screen, no line wider than it; whoever sources the file has every setting, under whatever name the
    directory has."""
    monkeypatch.chdir(tmp_path)
    short = plan.describe(place(Path(".andon").absolute(), Open()), "acme", dict.fromkeys(plan.STAGES, StageInfo()))
    block = guide(short, set(plan.STAGES)).replace(str(tmp_path) + "/", "")
    assert len(block.splitlines()) <= 24
    assert max(map(len, block.splitlines())) < 80
    info = plan.describe(place(tmp_path / "it's a line", Open()), "acme", dict.fromkeys(plan.STAGES, StageInfo()))
    write_env(info, set(plan.STAGES))
    shown = 'echo "$ANDON_DATA_DIR $ANDON_KAFKA_BOOTSTRAP_SERVERS $ANDON_CLICKHOUSE_URL $ANDON_CLICKHOUSE_USER"'
    said = subprocess.run(
        ["sh", "-c", f". {shlex.quote(str(env_file(info)))} && {shown}"], capture_output=True, text=True, check=True
    )
    assert said.stdout.split("line ")[1].split() == ["127.0.0.1:19092", info.clickhouse_url, info.clickhouse_reader]
    assert said.stdout.startswith(str(tmp_path / "it's a line"))


@pytest.mark.service
def test_the_settings_of_a_stopped_line_say_that_it_is(tmp_path: Path) -> None:
    """They stay: by them a gate answers that nobody knows, and not that it was asked wrongly. `andon` is found,
    whatever the path was."""
    info = plan.describe(place(tmp_path / "it's a line", Open()), "acme", {})
    write_env(info, set(plan.STAGES))

    def source() -> subprocess.CompletedProcess[str]:
        words = ["/bin/sh", "-c", f". {shlex.quote(str(env_file(info)))} && command -v andon"]
        return subprocess.run(words, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"})

    stopped = source()
    assert stopped.stdout == f"{Path(sys.executable).with_name('andon')}\n"
    again = f"andon up --data-dir {shlex.quote(info.data_dir)}"
    assert stopped.stderr == f"andon: no line runs in {info.data_dir}: start it with: {again}\n"
    (tmp_path / "it's a line" / STACK_FILE).touch()
    assert source().stderr == ""
