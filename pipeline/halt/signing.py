"""The Ed25519 key that signs halts: a private PEM that only its owner can read, the public PEM beside it.

A directory of keys is also a directory of trust: every `<kid>.pub.pem` in it is believed, so an old key's public half
stays behind when the private one is replaced, and another slot's is trusted by copying it there.
"""

import base64
import binascii
import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pipeline.halt.errors import BadSignature, UnknownKey
from pipeline.runtime.errors import ConfigError
from pipeline.wire.halts import Halt, canonical_bytes, decode_halt, encode_halt

PRIVATE_NAME = "signing.key.pem"
PUBLIC_SUFFIX = ".pub.pem"
KID_CHARS = 16

TrustedKeys = Mapping[str, Ed25519PublicKey]


def key_id(public: Ed25519PublicKey) -> str:
    """`kid`: the first 16 hexadecimal digits of SHA-256 over the raw public key."""
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:KID_CHARS]


class SigningKey:
    """A private key and its `kid`; its representation shows no secret."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key()
        self.kid = key_id(self.public)

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"

    def sign(self, halt: Halt) -> Halt:
        """The record as it is read back from the wire, with this key's `kid` and signature.

        It goes through the codec first, because a reader verifies what the codec gives: an integer in a float's place
        would otherwise be signed as `5` and verified as `5.0`.
        """
        settled = decode_halt(encode_halt(msgspec.structs.replace(halt, kid=self.kid, sig="")))
        signature = self._private.sign(canonical_bytes(settled))
        return msgspec.structs.replace(settled, sig=base64.b64encode(signature).decode("ascii"))


def verify(halt: Halt, trusted: TrustedKeys) -> None:
    """Return when a trusted key signed exactly this record.

    Raises:
        UnknownKey, BadSignature: both UntrustedRecord.
    """
    public = trusted.get(halt.kid)
    if public is None:
        raise UnknownKey(f"no trusted key has the id {halt.kid!r}")
    try:
        public.verify(base64.b64decode(halt.sig, validate=True), canonical_bytes(halt))
    except (InvalidSignature, binascii.Error, ValueError):
        raise BadSignature(f"the signature does not match the record of {halt.key!r}") from None


def load_or_create(key_dir: Path) -> SigningKey:
    """The key of this directory, made on first use.

    Raises:
        ConfigError: when the private key is readable by others, or is not an Ed25519 key.
    """
    key_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = key_dir / PRIVATE_NAME
    if not path.exists():
        _create(path)
    key = SigningKey(_read_private(path))
    public = key_dir / f"{key.kid}{PUBLIC_SUFFIX}"
    if not public.exists():
        pem = key.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        _write(public, pem, mode=0o644)
    return key


def load_trusted(key_dir: Path) -> dict[str, Ed25519PublicKey]:
    """Every public key of the directory by its `kid`.

    Raises:
        ConfigError: when a file is not an Ed25519 public key.
    """
    return {key_id(key): key for key in map(_read_public, sorted(key_dir.glob("*" + PUBLIC_SUFFIX)))}


def _create(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(path, pem, mode=0o600)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Complete or not at all, and never over a file that another process has just made."""
    handle, name = tempfile.mkstemp(dir=path.parent)  # 0600 from the start
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()


def _read_private(path: Path) -> Ed25519PrivateKey:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(f"{path} has mode {mode:04o}: others could sign halts with it; make it private: chmod 600")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(f"{path} is not a readable private key (unencrypted PEM): {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds another kind of key: halts are signed with Ed25519")
    return key


def _read_public(path: Path) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path} is not a readable public key (PEM): {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} holds another kind of key: halts are signed with Ed25519")
    return key
