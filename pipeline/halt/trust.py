"""Whose records are believed: the setting that every reader of halts has, and the keys that it names."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec

from pipeline.halt.believe import TrustedKey
from pipeline.halt.signing import load_trusted

Doc = msgspec.Meta


class TrustConfig(msgspec.Struct, frozen=True):
    """Section `trust`: whose records are believed."""

    keys_dir: Annotated[
        str,
        Doc(
            description='directory of public keys to believe (KID.pub.pem, ROLE.NAME.KID.pub.pem); "" believes none',
            extra={"option": "trusted_keys_dir"},
        ),
    ] = ""

    def keys(self) -> "TrustedDirectory | None":
        """The keys of that directory, as it is at each question; None when none is set."""
        return TrustedDirectory(Path(self.keys_dir)) if self.keys_dir else None


class TrustedDirectory(Mapping[str, TrustedKey]):
    """The public keys of a directory by their `kid`, read again whenever the directory has changed: a stage may start
    before the correlator has made its key, a new key comes before its first record, and one that is taken away is
    believed no more.

    Every look raises ConfigError when the directory is not to be trusted.
    """

    def __init__(self, key_dir: Path) -> None:
        self._dir = key_dir
        self._changed_ns = -1
        self._keys: dict[str, TrustedKey] = {}
        self._look()

    def _look(self) -> None:
        changed_ns = 0
        with suppress(FileNotFoundError):
            changed_ns = self._dir.stat().st_mtime_ns
        if changed_ns != self._changed_ns:
            self._keys = load_trusted(self._dir)
            self._changed_ns = changed_ns

    def __getitem__(self, kid: str) -> TrustedKey:
        self._look()
        return self._keys[kid]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
