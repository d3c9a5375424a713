"""Whose records are believed: the setting that every reader of halts has, and the keys that it names."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from pipeline.halt.believe import TrustedKey
from pipeline.halt.signing import PUBLIC_SUFFIX, REVOKED_SUFFIX, SigningKey, load_or_create, load_trusted
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.say import say

Doc = msgspec.Meta
Tell = Callable[[str], None]

UNSETTLED_NS = 50_000_000  # a change this young may be followed by another that gets the same time
ANEW_SECONDS = 10.0  # what does not change the directory itself: rights of its files, and of those above it
BROKEN_SECONDS = 0.2  # between two looks at one that is not to be trusted


class TrustConfig(msgspec.Struct, frozen=True):
    """Section `trust`: whose records are believed."""

    keys_dir: Annotated[
        str,
        Doc(
            description='directory of public keys to believe (KID.pub.pem, ROLE.NAME.KID.pub.pem); "" believes none',
            extra={"option": "trusted_keys_dir"},
        ),
    ] = ""

    def keys(self, tell: Tell | None = None) -> "TrustedDirectory | None":
        """The keys of that directory, as it is at each question; None when none is set. `tell` is as in
        TrustedDirectory."""
        return TrustedDirectory(Path(self.keys_dir), tell) if self.keys_dir else None


class TrustedDirectory(Mapping[str, TrustedKey]):
    """The public keys of a directory by their `kid`, read again whenever the directory has changed: a stage may start
    before the correlator has made its key, a new key comes before its first record, and one that is taken away or
    revoked is believed no more.

    While the directory is not to be trusted, what was believed of it when it was still is, but for keys that it has no
    more or revokes by now; nothing new is. `tell` hears of that, and of its end, once each, by default on standard
    error. `own` is the key that this process signs with: it is believed unless it is revoked there.

    Raises:
        ConfigError: when the directory is not to be trusted from the start.
    """

    def __init__(self, key_dir: Path, tell: Tell | None = None, own: SigningKey | None = None) -> None:
        self._dir, self._tell, self._own = key_dir, tell or _to_stderr, own
        self.trouble = ""  # why the directory is not to be trusted now
        self._seen: tuple[int, ...] | None = None  # None: what was read may be older than the directory
        self._looked = time.monotonic()
        state = self._state()
        self._keys = self._read()
        self._saw(state)

    def _saw(self, state: tuple[int, ...]) -> None:
        is_settled = not state or time.time_ns() - max(state[1:]) > UNSETTLED_NS
        self._seen = state if is_settled else None

    def _state(self) -> tuple[int, ...]:
        """What differs after a change: of its files' names, and of its own rights and owner."""
        try:
            found = self._dir.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns

    def _look(self) -> None:
        state, age_seconds = self._state(), time.monotonic() - self._looked
        if self.trouble and age_seconds < BROKEN_SECONDS:
            return
        if state == self._seen and age_seconds < ANEW_SECONDS and not self.trouble:
            return
        self._looked = time.monotonic()
        try:
            keys, trouble = self._read(), ""
        except ConfigError as error:
            keys, trouble = self._left(), str(error)
        self._keys = keys
        self._saw(state)
        if trouble != self.trouble:
            self.trouble = trouble
            self._tell(
                f"the directory of trusted keys is not to be trusted, nothing new in it is believed: {trouble}"
                if trouble
                else f"{self._dir} is to be trusted again"
            )

    def _read(self) -> dict[str, TrustedKey]:
        keys = load_trusted(self._dir)
        if self._own is not None and not os.path.lexists(self._dir / f"{self._own.kid}{REVOKED_SUFFIX}"):
            keys.setdefault(self._own.kid, TrustedKey(self._own.public))
        return keys

    def _left(self) -> dict[str, TrustedKey]:
        """Of the keys that were believed, those that the directory still has and does not revoke."""
        try:
            names = os.listdir(self._dir)
        except OSError:
            return self._keys  # nobody can tell
        own = "" if self._own is None else self._own.kid
        return {
            kid: key
            for kid, key in self._keys.items()
            if f"{kid}{REVOKED_SUFFIX}" not in names
            and (kid == own or any(name.endswith(f"{kid}{PUBLIC_SUFFIX}") for name in names))
        }

    def __getitem__(self, kid: str) -> TrustedKey:
        self._look()
        return self._keys[kid]

    def __iter__(self) -> Iterator[str]:
        self._look()
        return iter(self._keys)

    def __len__(self) -> int:
        self._look()
        return len(self._keys)


def own_and_trusted(key_dir: Path, tell: Tell) -> tuple[SigningKey, TrustedDirectory]:
    """The key that signs here, made on first use, and whom who signs here believes.

    Raises:
        ConfigError: see `load_or_create`, `TrustedDirectory`.
    """
    key = load_or_create(key_dir)
    return key, TrustedDirectory(key_dir, tell, own=key)


def _to_stderr(words: str) -> None:
    say(f"andon: {words}", err=True)
