"""What people do with keys: make, look at, exchange and revoke them, as files in a directory."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.halt.believe import Role
from pipeline.halt.signing import (
    PRIVATE_NAME,
    PUBLIC_SUFFIX,
    REVOKED_SUFFIX,
    SigningKey,
    files,
    is_name,
    load_private,
    private_pem,
    public_pem,
    read_private,
    read_public,
    revoked_kid,
    settle,
    write_new,
)
from pipeline.halt.trusted_paths import check_directory
from pipeline.runtime.errors import AndonError, ConfigError

T = TypeVar("T")

PRIVATE_SUFFIX, NEXT_NAME = ".key.pem", "next.key.pem"


class KeyRow(msgspec.Struct, frozen=True):
    """A public key of a directory. `made_at` and `revoked_at` (None: it is not) are its files' times, unix ms;
    `private_file` is the name of the private half where that lies beside it, else ""."""

    role: Role
    name: str
    kid: str
    made_at: int
    revoked_at: int | None
    private_file: str


class Listing(msgspec.Struct, frozen=True):
    """A directory of keys, and all that is wrong with it: as long as something is, nobody begins to believe it."""

    dir: str
    keys: list[KeyRow]
    problems: list[str]


class Made(NamedTuple):
    """A new key and its two files; and the keys of its owner that lie there, too, and are not revoked."""

    row: KeyRow
    private: Path
    public: Path
    older: list[str]


def look(key_dir: Path) -> Listing:
    """All that lies there, whatever is wrong with it."""
    tried = _Tried()
    tried.out(partial(check_directory, key_dir))
    revoked = {kid: _changed_ms(path) for path, kid in tried.each(key_dir, REVOKED_SUFFIX, revoked_kid)}
    privates = {SigningKey(key).kid: path.name for path, key in tried.each(key_dir, PRIVATE_SUFFIX, read_private)}
    rows: dict[str, KeyRow] = {}
    for path, (kid, key) in tried.each(key_dir, PUBLIC_SUFFIX, read_public):
        if kid in rows:
            tried.problems.append(f"{path} holds a key that lies there under another name, too: a key has one role")
            continue
        rows[kid] = KeyRow(key.role, key.name, kid, _changed_ms(path), revoked.get(kid), privates.get(kid, ""))
    ordered = sorted(rows.values(), key=lambda row: (row.role, row.name, row.made_at, row.kid))
    return Listing(str(key_dir), ordered, tried.problems)


class _Tried:
    """Goes on where others stop at what is wrong, and remembers it."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def out(self, act: Callable[[], T]) -> T | None:
        try:
            return act()
        except ConfigError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None

    def each(self, key_dir: Path, suffix: str, read: Callable[[Path], T]) -> list[tuple[Path, T]]:
        """What the directory's files of this kind hold, as far as they can be read."""
        found = []
        for path in self.out(partial(files, key_dir, suffix)) or []:
            value = self.out(partial(read, path))
            if value is not None:
                found.append((path, value))
        return found


def make(role: Role, name: str, key_dir: Path) -> Made:
    """A first key: the directory, too, when there is none.

    Raises:
        ConfigError: when others could write there, something there is wrong, or the owner has a key there already.
    """
    _check_name(role, name)
    key_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if older := _own(role, name, _sound(key_dir)):
        raise ConfigError(
            f"{key_dir} holds the key {older[0]} of {_title(role, name)}: `andon keys rotate` makes the next"
        )
    if role == "detector" and os.path.lexists(key_dir / PRIVATE_NAME):
        raise ConfigError(f"{key_dir / PRIVATE_NAME} is there: `andon keys rotate detector` makes the next key")
    return _written(role, name, key_dir, [])


def make_next(role: Role, name: str, key_dir: Path) -> Made:
    """Another key of one who has a key there; both are believed.

    Raises:
        ConfigError: when they have none, one waits to be begun with, or something there is wrong.
    """
    _check_name(role, name)
    listing = _sound(key_dir)
    if role == "detector":
        if not os.path.lexists(key_dir / PRIVATE_NAME):
            raise ConfigError(f"{key_dir} has no {PRIVATE_NAME}: name the correlator's DATA_DIR/keys")
        if os.path.lexists(key_dir / NEXT_NAME):
            raise ConfigError(f"{key_dir / NEXT_NAME} is the next key already: --switch begins to sign with it")
        kid = load_private(key_dir / PRIVATE_NAME).kid
        older = [kid]
        name = name or next((row.name for row in listing.keys if row.kid == kid), "")
    elif not (older := _own(role, name, listing)):
        raise ConfigError(f"{key_dir} holds no key of {_title(role, name)}: `andon keys new` makes the first")
    return _written(role, name, key_dir, older)


def switch(key_dir: Path) -> tuple[str, str]:
    """Put the detector's next key in the place of the one that signs; which it was, and which it is. The old one stays
    beside it as `KID.key.pem`.

    Raises:
        ConfigError: when there is no next one, or it is not believed there.
    """
    listing = _sound(key_dir)
    current, following = key_dir / PRIVATE_NAME, key_dir / NEXT_NAME
    if not os.path.lexists(following):
        raise ConfigError(f"{following} is not there: `andon keys rotate detector` without --switch makes it")
    old, new = load_private(current).kid, load_private(following).kid
    if not any(row.kid == new and row.revoked_at is None for row in listing.keys):
        raise ConfigError(
            f"{following} holds the key {new}, and {key_dir} does not believe it: its public half is missing"
        )
    kept = key_dir / f"{old}{PRIVATE_SUFFIX}"
    if not os.path.lexists(kept):
        os.link(current, kept)
    following.replace(current)  # at no moment is there none: the correlator would make one
    settle(key_dir)
    return old, new


def revoke(kid: str, key_dir: Path, dry_run: bool) -> tuple[KeyRow, Listing]:
    """Write `KID.revoked`, durably; whose key it is, and the directory as it was.

    Raises:
        ConfigError: when the directory holds no such key, or others could write there.
    """
    listing = look(key_dir)
    row = next((row for row in listing.keys if row.kid == kid), None)
    if row is None:
        there = ", ".join(row.kid for row in listing.keys) or "none"
        raise ConfigError(f"{key_dir} holds no key {kid!r}: there is {there}. {'; '.join(listing.problems)}".strip())
    if not dry_run and row.revoked_at is None:
        write_new(key_dir / f"{kid}{REVOKED_SUFFIX}", b"", mode=0o644)
    return row, listing


def _sound(key_dir: Path) -> Listing:
    listing = look(key_dir)
    if listing.problems:
        raise ConfigError("; ".join(listing.problems))
    return listing


def _check_name(role: Role, name: str) -> None:
    if not is_name(name) and (name or role != "detector"):
        raise ConfigError(f"{name!r} names nobody: should be a-z 0-9 _ @ . -, 64 at most, the first a letter or digit")


def _own(role: Role, name: str, listing: Listing) -> list[str]:
    rows = (row for row in listing.keys if (row.role, row.name) == (role, name))
    return [row.kid for row in rows if row.revoked_at is None]


def _written(role: Role, name: str, key_dir: Path, older: list[str]) -> Made:
    """The public half first: a private one without it could sign what nobody believes."""
    private = Ed25519PrivateKey.generate()
    kid = SigningKey(private).kid
    owner = f"{role}.{name}.{kid}" if name else kid
    public_path = key_dir / f"{owner}{PUBLIC_SUFFIX}"
    path = key_dir / f"{owner}{PRIVATE_SUFFIX}"
    if role == "detector":
        path = key_dir / (NEXT_NAME if older else PRIVATE_NAME)
    for place, content, mode in (
        (public_path, public_pem(private.public_key()), 0o644),
        (path, private_pem(private), 0o600),
    ):
        if not write_new(place, content, mode):
            raise AndonError(f"{place} is there already, and is not written over")
    return Made(KeyRow(role, name, kid, _changed_ms(public_path), None, path.name), path, public_path, older)


def _title(role: Role, name: str) -> str:
    return f"{role} {name}".strip()


def _changed_ms(path: Path) -> int:
    return path.lstat().st_mtime_ns // 1_000_000
