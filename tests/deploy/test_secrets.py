"""deploy/secrets.sh: all that a deployment needs, made once, of nobody's choosing."""

import os
import ssl
import stat
from pathlib import Path

import pytest
from support.deploying import secrets
from support.outside import needs
from support.sources import ROOT

from pipeline.access.roles import read_roles
from pipeline.collect.tokens import TokenTable
from pipeline.halt.signing import load_or_create, load_trusted
from pipeline.runtime.logging import configure
from pipeline.runtime.partials import PartialsConfig, seal_of

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that it made; the detector's key is this user's."""
    needs("openssl", "bash")
    if os.geteuid() != 0:
        pytest.skip("needs root, as the script does")
    place = tmp_path_factory.mktemp("secrets") / "made"
    done = secrets.make(place, "--fleet", "acme", "--name", "kafka.example", "--name", "192.0.2.1", "--owner", "0")
    assert done.returncode == 0, done.stderr
    return place


def test_what_it_makes_is_what_andon_reads(made: Path) -> None:
    """The token's hash, the detector's key and its public half in the directory of trust, the seal."""
    key = load_or_create(made / "correlate-keys")
    assert set(load_trusted(made / "trust")) == {key.kid}
    sender = TokenTable(made / "tokens.toml").sender_of(f"Bearer {(made / 'token-acme').read_text()}")
    assert sender is not None
    assert sender.fleet == "acme"
    assert seal_of(PartialsConfig(secret_file=str(made / "partials-secret")), configure("test")) is not None


def test_each_account_of_a_running_stage_has_a_password(made: Path) -> None:
    """Of acls.toml, but who administers: that is `admin`. All differ, and stand in the brokers' file."""
    users = {
        user
        for name, role in read_roles(ROOT / "deploy" / "acls.toml").items()
        if name != "topics"
        for user in role.users
    }
    passwords = {user: (made / f"kafka-{user}").read_text() for user in (*users, "admin")}
    assert len(set(passwords.values())) == len(passwords)
    assert min(map(len, passwords.values())) >= 32
    known = (made / "kafka-jaas.conf").read_text()
    assert all(f'user_{user}="{password}"' in known for user, password in passwords.items())


def test_the_brokers_certificate_is_believed(made: Path) -> None:
    """By who has the authority's, under the names that were given."""
    context = ssl.create_default_context(cafile=str(made / "ca.pem"))
    context.load_cert_chain(made / "kafka.pem")
    decode = ssl._ssl._test_decode_cert  # type: ignore[attr-defined]
    names = {name for _, name in decode(str(made / "kafka.pem"))["subjectAltName"]}
    assert {"kafka-1", "kafka-3", "localhost", "kafka.example", "192.0.2.1"} <= names


def test_nobody_else_can_read_them(made: Path) -> None:
    """The directory is its owner's alone; a private key, and what is for one person, has no other reader."""
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert stat.S_IMODE((made / "correlate-keys" / "signing.key.pem").stat().st_mode) == 0o600
    for name in ("ca.key", "token-acme"):
        assert stat.S_IMODE((made / name).stat().st_mode) == 0o400


def test_a_second_time_changes_nothing(made: Path) -> None:
    """What is there stays."""
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    done = secrets.make(made, "--owner", "0")
    assert (done.returncode, [line for line in done.stdout.splitlines() if line.startswith("made")]) == (0, [])
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("options", [(), ("--fleet",), ("--fleet", 'a"b'), ("--colour", "red")], ids=range(4))
def test_what_it_does_not_understand_it_refuses(tmp_path: Path, options: tuple[str, ...]) -> None:
    """And makes nothing."""
    needs("bash")
    target = [] if not options else [str(tmp_path / "made")]
    done = secrets.make(Path(*target) if target else Path("--fleet"), *options)
    assert done.returncode == 2
    assert not (tmp_path / "made").exists()
