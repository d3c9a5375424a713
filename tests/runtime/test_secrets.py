"""Secrets that others could read are refused, and those that services are handed are not."""

import grp
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest
from support.outside import needs

from consumers.clickhouse.connect import ClickHouseConfig
from consumers.notify.config import NotifyConfig
from pipeline.backup.sealed import identities_of
from pipeline.doctor.http import check_token
from pipeline.runtime.config import load
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.kafka import KafkaConfig, check
from pipeline.runtime.partials import PartialsConfig
from pipeline.runtime.secrets import is_own_group, read_secret

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def opened() -> Iterator[Path]:
    """A directory that everybody may enter; those of tests are closed."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        if not all(above.stat().st_mode & 0o001 for above in place.resolve().parents):
            pytest.skip("temporary directories are closed to others here")
        yield place


def secret(place: Path, mode: int) -> Path:
    """A file with one."""
    path = place / "secret"
    path.write_text("hunter2hunter2hunter2hunter2\n")
    path.chmod(mode)
    return path


def said_of(path: Path) -> str:
    """What a section says of a file with its password; "" when it reads it."""
    try:
        read_secret(ClickHouseConfig(password_file=str(path)), "clickhouse")
    except ConfigError as error:
        return str(error)
    return ""


def test_an_identity_of_age_is_refused_as_other_secrets_are(opened: Path) -> None:
    """Whoever has it reads every backup: with the option, mode and what to do, by the same rule, and nothing of it."""
    path = opened / "identity.txt"
    key = str(pyrage.x25519.Identity.generate())
    path.write_text(f"{key}\n", "utf-8")
    path.chmod(0o644)
    with pytest.raises(ConfigError) as told:
        identities_of(path)
    said = str(told.value)
    assert said.startswith(f"--identity {path}: {path} has mode 0644, so everybody could read the secret in it")
    assert key not in said
    path.chmod(0o600)
    assert len(identities_of(path)) == 1


@pytest.mark.parametrize("mode", [0o644, 0o444, 0o604, 0o606, 0o602])
def test_what_everybody_can_read_is_refused(opened: Path, mode: int) -> None:
    """With setting, file, mode and what to do; nothing of what is in it."""
    path = secret(opened, mode)
    said = said_of(path)
    assert f"clickhouse.password_file = '{path}': {path} has mode {mode:04o}, so everybody could read" in said
    assert f"chmod 600 {path}" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_what_is_its_owners_alone_is_read(opened: Path, mode: int) -> None:
    """Whatever the directory."""
    assert said_of(secret(opened, mode)) == ""


@pytest.mark.parametrize("mode", [0o440, 0o640])
@root_only
def test_what_root_made_readable_to_a_services_group_is_read(opened: Path, mode: int) -> None:
    """So units and pods get theirs: root's, the service's group, no others. A person's file in a group is refused."""
    path = secret(opened, mode)
    os.chown(path, 0, NOBODY)
    assert said_of(path) == ""
    os.chown(path, NOBODY, 4)
    assert "so group 4 could read" in said_of(path)


def test_a_closed_directory_keeps_what_is_in_it(opened: Path) -> None:
    """As that of deploy/secrets.sh does, by a link as well."""
    (closed := opened / "closed").mkdir(mode=0o700)
    path = secret(closed, 0o444)
    (opened / "link").symlink_to(path)
    assert said_of(path) == said_of(opened / "link") == ""
    closed.chmod(0o755)
    assert "mode 0444" in said_of(opened / "link")


@pytest.mark.service
@pytest.mark.parametrize("how", ["--ro-bind", "--bind"])
def test_what_a_container_is_handed_is_read(opened: Path, how: str) -> None:
    """A file that is mounted, read-only, as compose and Kubernetes mount secrets, whatever its mode is outside."""
    needs("bwrap")
    path = secret(opened, 0o444)
    (handed := opened / "handed").touch()
    code = (
        "import sys; from consumers.clickhouse.connect import ClickHouseConfig as C\n"
        "from pipeline.runtime.secrets import read_secret as read\n"
        "read(C(password_file=sys.argv[1]), 'clickhouse')"
    )
    words = ["bwrap", "--bind", "/", "/", "--proc", "/proc", how, path, handed, sys.executable, "-c", code, handed]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode == 0) == (how == "--ro-bind"), done.stderr
    assert how == "--ro-bind" or "mode 0444, so everybody" in done.stderr


def test_every_kind_of_secret_is_looked_at(opened: Path) -> None:
    """The seal, a password in the configuration, a bearer token, a sender's token, the key of a certificate; a
    configuration without a secret is everybody's."""
    path = secret(opened, 0o644)
    with pytest.raises(ConfigError, match=r"partials\.secret_file"):
        read_secret(PartialsConfig(secret_file=str(path)), "partials", "secret")
    with pytest.raises(ConfigError, match=r"notify\.token_file"):
        NotifyConfig(alertmanager_urls="http://a:1", token_file=str(path)).accesses()
    with pytest.raises(ConfigError, match=r"doctor\.gateway_token_file"):
        check_token("http://127.0.0.1:1", str(path))
    with pytest.raises(ConfigError, match=r"kafka\.ssl_key_file"):
        check(KafkaConfig(security_protocol="SSL", ssl_key_file=str(path)))
    toml = opened / "andon.toml"
    toml.write_text("[kafka]\nsasl_username = 'me'\n")
    toml.chmod(0o644)
    assert load(KafkaConfig, "kafka", file=toml, environ={}, options={}).sasl_username == "me"
    toml.write_text("[kafka]\nsasl_password = 'hunter2'\n")
    with pytest.raises(ConfigError, match=r"\[kafka\] sasl_password: .*andon\.toml has mode 0644"):
        load(KafkaConfig, "kafka", file=toml, environ={}, options={})
    toml.chmod(0o600)
    assert load(KafkaConfig, "kafka", file=toml, environ={}, options={}).sasl_password == "hunter2"


def test_a_private_group_is_its_users_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same name, the user's first, nobody else in it. Another's, a shared one and an unknown one are not."""
    user = pwd.struct_passwd(("ann", "x", 70_001, 70_001, "", "/", "/bin/sh"))
    other = pwd.struct_passwd(("bob", "x", 70_002, 70_009, "", "/", "/bin/sh"))
    users = {each.pw_uid: each for each in (user, other)}
    groups = {
        70_001: grp.struct_group(("ann", "x", 70_001, ["ann"])),
        70_002: grp.struct_group(("bob", "x", 70_002, [])),  # not bob's first
        70_009: grp.struct_group(("staff", "x", 70_009, [])),
    }
    monkeypatch.setattr(pwd, "getpwuid", users.__getitem__)
    monkeypatch.setattr(grp, "getgrgid", groups.__getitem__)
    assert is_own_group(70_001, 70_001)
    assert not any(is_own_group(gid, 70_002) for gid in (70_001, 70_002, 70_009, 70_010))
    groups[70_001] = grp.struct_group(("ann", "x", 70_001, ["ann", "bob"]))
    assert not is_own_group(70_001, 70_001)
