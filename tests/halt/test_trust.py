"""A directory of trust under a process that runs: what changes there holds at once, what breaks there opens nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.halt.signing import SigningKey, load_or_create
from pipeline.halt.trust import TrustedDirectory
from pipeline.runtime.errors import ConfigError


class Place:
    """A directory with two detectors' keys, a process that believes it, and what that process has said."""

    def __init__(self, directory: Path) -> None:
        self.keys = directory / "keys"
        self.first = self.add(directory / "first")
        self.second = self.add(directory / "second")
        self.said: list[str] = []
        self.trusted = TrustedDirectory(self.keys, self.said.append)

    def add(self, elsewhere: Path) -> SigningKey:
        """One key more, of another process."""
        key = load_or_create(elsewhere)
        self.keys.mkdir(exist_ok=True, mode=0o700)
        self.public(key).write_bytes((elsewhere / f"{key.kid}.pub.pem").read_bytes())
        return key

    def public(self, key: SigningKey) -> Path:
        """Its file here."""
        return self.keys / f"{key.kid}.pub.pem"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Fresh."""
    return Place(tmp_path)


def test_what_is_removed_or_revoked_is_believed_no_more(place: Place) -> None:
    """At the very next question, however quickly it comes; and what is added, too."""
    assert place.first.kid in place.trusted
    (place.keys / f"{place.first.kid}.revoked").touch()
    assert place.first.kid not in place.trusted
    place.public(place.second).unlink()
    assert place.second.kid not in place.trusted
    assert len(place.trusted) == 0
    third = place.add(place.keys.with_name("third"))
    assert list(place.trusted) == [third.kid]
    assert place.said == []


def junk(place: Place) -> None:
    """A key that is copied in place, half of it so far."""
    (place.keys / "0123456789abcdef.pub.pem").write_bytes(b"-----BEGIN")


def nameless(place: Place) -> None:
    """A revocation of nobody knows which key."""
    (place.keys / "alice.revoked").touch()


@pytest.mark.parametrize(
    "spoil",
    [junk, nameless, lambda place: place.keys.chmod(0o777)],
    ids=["half-a-key", "nameless-revocation", "open-to-all"],
)
def test_a_broken_directory_opens_nothing_and_ends_nothing(place: Place, spoil: Callable[[Place], None]) -> None:
    """What was believed is, nothing new is, what goes or is revoked meanwhile is not; it is said once, and when it is
    over. A process that begins then does not."""
    assert len(place.trusted) == 2
    mode = place.keys.stat().st_mode
    spoil(place)
    third = place.add(place.keys.with_name("third"))
    assert third.kid not in place.trusted
    assert place.first.kid in place.trusted
    assert place.trusted.trouble
    (place.keys / f"{place.first.kid}.revoked").touch()
    place.trusted._looked = 0.0  # the pause between two looks at a broken one is over
    assert place.first.kid not in place.trusted
    assert place.second.kid in place.trusted
    place.public(place.second).unlink()
    place.trusted._looked = 0.0
    assert place.second.kid not in place.trusted
    with pytest.raises(ConfigError):
        TrustedDirectory(place.keys)
    assert [words.startswith("the directory of trusted keys is not to be trusted") for words in place.said] == [True]
    place.keys.chmod(mode)
    for wrong in (place.keys / "0123456789abcdef.pub.pem", place.keys / "alice.revoked"):
        wrong.unlink(missing_ok=True)
    place.trusted._looked = 0.0
    assert list(place.trusted) == [third.kid]
    assert place.said[1:] == [f"{place.keys} is to be trusted again"]


def test_a_directory_that_is_gone_is_one_without_keys(place: Place) -> None:
    """As one that was never there: nothing is believed, and nothing fails."""
    assert len(place.trusted) == 2
    place.keys.rename(place.keys.with_name("away"))
    assert len(place.trusted) == 0
    place.keys.with_name("away").rename(place.keys)
    assert len(place.trusted) == 2


def test_own_key_is_believed_until_it_is_revoked(place: Place, tmp_path: Path) -> None:
    """Its public half may be lost; `KID.revoked` holds."""
    own = load_or_create(tmp_path / "own")
    trusted = TrustedDirectory(tmp_path / "own", place.said.append, own)
    (tmp_path / "own" / f"{own.kid}.pub.pem").unlink()
    assert own.kid in trusted
    (tmp_path / "own" / f"{own.kid}.revoked").touch()
    assert own.kid not in trusted
