"""The directory of trust: a key is believed, or signed with, only where nobody else could have put it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.halt.signing import load_or_create, load_private, load_trusted
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.errors import ConfigError

NOBODY = 65534


def stranger_file(keys: Path) -> None:
    """A public key whose file others may write to."""
    next(keys.glob("*.pub.pem")).chmod(0o646)


def another_name(keys: Path) -> None:
    """A stranger's key under the name of an old one of ours."""
    other = load_or_create(keys.parent / "other")
    (keys / "0123456789abcdef.pub.pem").write_bytes((keys.parent / "other" / f"{other.kid}.pub.pem").read_bytes())


def link_out(keys: Path) -> None:
    """A link to a file that somebody else may change."""
    (keys.parent / "elsewhere").write_bytes(b"")
    (keys / "0123456789abcdef.pub.pem").symlink_to(keys.parent / "elsewhere")


def pipe(keys: Path) -> None:
    """A pipe, at which a reader would wait for ever."""
    os.mkfifo(keys / "0123456789abcdef.pub.pem", 0o600)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda keys: keys.chmod(0o777), "others could put a key there"),
        (lambda keys: keys.parent.chmod(0o777), "others could put a key there"),
        (lambda keys: keys.parent.parent.chmod(0o722), "others could put a key there"),
        (stranger_file, "others could put a key there"),
        (another_name, "is named for what it is"),
        (link_out, "symbolic link"),
        (pipe, "is no file"),
    ],
    ids=["directory", "parent", "grandparent", "file", "name", "link", "pipe"],
)
def test_what_others_could_have_put_there_is_refused(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    """Open directories, all the way up, and files that are not what they are named for: no key of them is believed."""
    keys = tmp_path / "data" / "line" / "keys"
    load_or_create(keys)
    assert len(load_trusted(keys)) == 1
    spoil(keys)
    with pytest.raises(ConfigError, match=words):
        load_trusted(keys)


def test_an_open_directory_is_not_signed_from(tmp_path: Path) -> None:
    """The correlator does not start on keys that others may exchange."""
    load_or_create(tmp_path / "keys")
    (tmp_path / "keys").chmod(0o777)
    with pytest.raises(ConfigError, match="chmod o-w"):
        load_or_create(tmp_path / "keys")


def test_a_linked_directory_is_refused(tmp_path: Path) -> None:
    """The directory is named itself, not by a link that may point elsewhere tomorrow."""
    load_or_create(tmp_path / "keys")
    (tmp_path / "link").symlink_to(tmp_path / "keys")
    with pytest.raises(ConfigError, match="name the directory itself"):
        load_trusted(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", ["keys", "keys/signing.key.pem", "keys/*.pub.pem", "."])
def test_what_belongs_to_another_is_refused(tmp_path: Path, what: str) -> None:
    """A key planted by another user, in a directory of theirs or in ours, signs nothing and is not believed."""
    tmp_path.chmod(0o755)
    load_or_create(tmp_path / "keys")
    planted = next(tmp_path.glob(what)) if "*" in what else tmp_path / what
    os.chown(planted, NOBODY, NOBODY)
    use = load_or_create if what == "keys/signing.key.pem" else load_trusted
    with pytest.raises(ConfigError, match="belongs to"):
        use(tmp_path / "keys")


def test_a_link_that_leads_through_an_open_directory_is_refused(tmp_path: Path) -> None:
    """Links above may be ours; one of them in a place where others could exchange it may not."""
    load_or_create(tmp_path / "real" / "keys")
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    for through in ("closed", "open"):
        (tmp_path / through / "link").symlink_to(tmp_path / "real")
        (tmp_path / f"by-{through}").symlink_to(f"{through}/link")
    (tmp_path / "open").chmod(0o777)
    assert len(load_trusted(tmp_path / "by-closed" / "keys")) == 1
    with pytest.raises(ConfigError, match=r"open has mode 0777: others could put a key there"):
        load_trusted(tmp_path / "by-open" / "keys")


def test_a_key_that_comes_later_is_found(tmp_path: Path) -> None:
    """A reader may start before the correlator has made its key, and see a new one without being started again."""
    keys = TrustConfig(keys_dir=str(tmp_path / "keys")).keys()
    assert keys is not None
    assert "none" not in keys
    first = load_or_create(tmp_path / "keys")
    assert first.kid in keys
    (tmp_path / "keys" / "signing.key.pem").unlink()
    assert load_or_create(tmp_path / "keys").kid in keys
    assert len(keys) == 2
    (tmp_path / "keys" / f"{first.kid}.pub.pem").unlink()
    assert first.kid not in keys, "what is taken away is believed no more"


def test_a_private_key_is_loaded_where_nobody_else_could_have_put_it(tmp_path: Path) -> None:
    """Its owner's file, mode 600, in a directory that is theirs alone; neither a link nor another kind of key."""
    key = load_or_create(tmp_path / "own")
    path = tmp_path / "own" / "signing.key.pem"
    assert load_private(path).kid == key.kid
    (tmp_path / "own" / "link.pem").symlink_to(path)
    (tmp_path / "own" / "other.pem").write_text("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n")
    (tmp_path / "own" / "other.pem").chmod(0o600)
    for name, words in (("link.pem", "symbolic link"), ("other.pem", "not a readable"), ("none.pem", "cannot be read")):
        with pytest.raises(ConfigError, match=words):
            load_private(tmp_path / "own" / name)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_private(path)
    path.chmod(0o600)
    path.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="chmod o-w"):
        load_private(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_group_may_write_where_nobody_else_is_in_it(tmp_path: Path) -> None:
    """Its owner's private group, as many systems make directories, and Kubernetes volumes; not a group of others."""
    load_or_create(tmp_path / "keys")
    public = next((tmp_path / "keys").glob("*.pub.pem"))
    for path, mode in ((tmp_path / "keys", 0o2775), (public, 0o664)):
        os.chown(path, 0, 0)
        path.chmod(mode)
        assert len(load_trusted(tmp_path / "keys")) == 1
        os.chown(path, 0, NOBODY)
        path.chmod(mode)
        with pytest.raises(ConfigError, match=rf"{path.name} has mode {mode:04o}: .*chmod g-w"):
            load_trusted(tmp_path / "keys")
        os.chown(path, 0, 0)
