"""Pieces sealed to their recipients in age's format (age-encryption.org/v1), and unsealed: by the library that age's
own authors keep, through its binding `pyrage`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

import pyrage

from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.secrets import refuse_other_readers


class Counted:
    """A stream that is written to, or read from, and counts and hashes what passes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.failure: OSError | None = None  # of the stream, of which the library only tells the words

    def _saw(self, data: bytes) -> bytes:
        self._hash.update(data)
        self.bytes += len(data)
        return data

    def write(self, data: bytes) -> int:
        """As a stream."""
        try:
            return int(self._stream.write(self._saw(data)))
        except OSError as error:
            self.failure = error
            raise

    def read(self, size: int = -1) -> bytes:
        """As a stream."""
        try:
            return self._saw(self._stream.read(size))
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        """As a stream."""
        self._stream.flush()

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal."""
        return self._hash.hexdigest()


def recipients_of(texts: Sequence[str]) -> list[Any]:
    """Raises ConfigError when there are none, or one is no public key of age."""
    if not texts:
        raise ConfigError("backup.recipients is empty: name at least one public key of age (age1…), of `age-keygen`")
    found = []
    for text in texts:
        try:
            found.append(pyrage.x25519.Recipient.from_str(text))
        except pyrage.RecipientError as error:
            shown = f"{text[:12]}…" if text.upper().startswith("AGE-SECRET") else repr(text)
            raise ConfigError(f"backup.recipients: {shown} is no public key of age (age1…): {error}") from None
    return found


def identities_of(path: Path) -> list[Any]:
    """The identities of a file as `age-keygen` writes it.

    Raises:
        ConfigError: when it cannot be read, others can read it, or it holds none. Nothing of it is said.
    """
    try:
        lines = path.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--identity {path}: cannot be read: {getattr(error, 'strerror', '') or 'no text'}") from None
    refuse_other_readers(path, f"--identity {path}")
    found = []
    for line in lines:
        if line.startswith("AGE-SECRET-KEY-"):
            try:
                found.append(pyrage.x25519.Identity.from_str(line))
            except pyrage.IdentityError:
                raise ConfigError(f"--identity {path}: holds a secret key of age that is none") from None
    if not found:
        raise ConfigError(f"--identity {path}: holds no secret key of age, a line that begins with AGE-SECRET-KEY-")
    return found


def seal(plain: Counted, sealed: Counted, recipients: Sequence[Any]) -> None:
    """Raises OSError as the streams do."""
    try:
        pyrage.encrypt_io(plain, sealed, recipients)
    except (pyrage.EncryptError, OSError) as error:
        raise plain.failure or sealed.failure or AndonError(f"cannot be encrypted: {error}") from None


def unseal(sealed: BinaryIO, plain: IO[bytes], identities: Sequence[Any], what: str) -> None:
    """Raises AndonError for a wrong identity, and when it is not as it was sealed; OSError as the streams do."""
    came, out = Counted(sealed), Counted(plain)
    try:
        pyrage.decrypt_io(came, out, identities)
    except (pyrage.DecryptError, OSError) as error:
        why = f"{what} cannot be decrypted: {error}. Is the identity that of one of the backup's recipients?"
        raise came.failure or out.failure or AndonError(why) from None
