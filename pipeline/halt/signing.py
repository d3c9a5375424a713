"""The Ed25519 key that signs what the correlator says: a private PEM for its owner only, the public one beside it.

A directory of keys is also a directory of trust: every `KID.pub.pem` in it is believed as a detector's, every
`ROLE.NAME.KID.pub.pem` for what its role may say, unless `KID.revoked` lies beside it. So an old key's public half
stays behind when the private one is replaced, and another's is trusted by copying it there. Who could put a file there
could order a fleet to go on; so nothing is taken from a place where others might have (trusted_paths.py).
"""

import base64
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pipeline.halt.believe import Role, TrustedKey, verify_signature
from pipeline.halt.believe import TrustedKeys as TrustedKeys
from pipeline.halt.trusted_paths import check_directory, read_file
from pipeline.runtime.errors import ConfigError
from pipeline.wire.acks import HaltAck
from pipeline.wire.halts import Halt, canonical_bytes, decode_halt, encode_halt
from pipeline.wire.verdicts import FleetHeartbeat, Verdict

PRIVATE_NAME = "signing.key.pem"
PUBLIC_SUFFIX, REVOKED_SUFFIX = ".pub.pem", ".revoked"
KID_CHARS = 16
_PUBLIC_NAME = re.compile(
    r"(?:(detector|operator|subscriber)\.([a-z0-9][a-z0-9_@.-]{0,63})\.)?([0-9a-f]{16})\.pub\.pem"
)

R = TypeVar("R", Verdict, FleetHeartbeat, HaltAck)


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
        return msgspec.structs.replace(settled, sig=self._signature(settled))

    def sign_word(self, record: R) -> R:
        """A verdict, heartbeat or acknowledgement with this key's `kid` and signature, over its canonical bytes."""
        own = msgspec.structs.replace(record, kid=self.kid, sig="")
        return msgspec.structs.replace(own, sig=self._signature(own))

    def _signature(self, record: Halt | Verdict | FleetHeartbeat | HaltAck) -> str:
        return base64.b64encode(self._private.sign(canonical_bytes(record))).decode("ascii")


def verify(halt: Halt, trusted: TrustedKeys) -> None:
    """Return when a detector's key signed exactly this record.

    Raises:
        UnknownKey, WrongRole, BadSignature: all UntrustedRecord.
    """
    verify_signature(canonical_bytes(halt), halt.kid, halt.sig, trusted, "detector")


def load_or_create(key_dir: Path) -> SigningKey:
    """The key of this directory, made on first use.

    Raises:
        ConfigError: when others could have put it there or may read it, or it is not an Ed25519 key.
    """
    key_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    check_directory(key_dir)
    path = key_dir / PRIVATE_NAME
    if not os.path.lexists(path):
        _create(path)
    key = SigningKey(_read_private(path))
    public = key_dir / f"{key.kid}{PUBLIC_SUFFIX}"
    if not os.path.lexists(public):
        pem = key.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        _write(public, pem, mode=0o644)
    return key


def load_private(path: Path) -> SigningKey:
    """Somebody's own key, from the file that `andon keys new` made or another unencrypted PEM.

    Raises:
        ConfigError: when others may read it or could have put it there, or it is not an Ed25519 key.
    """
    check_directory(path.absolute().parent)
    return SigningKey(_read_private(path))


def load_trusted(key_dir: Path) -> dict[str, TrustedKey]:
    """Every public key of the directory that is not revoked, by its `kid`; none when there is no such directory yet.

    Raises:
        ConfigError: when others could have put a key there, or a file is not the Ed25519 key that it is named for.
    """
    if not os.path.lexists(key_dir):
        return {}
    check_directory(key_dir)
    revoked = {path.name.removesuffix(REVOKED_SUFFIX) for path in key_dir.glob("*" + REVOKED_SUFFIX)}
    trusted: dict[str, TrustedKey] = {}
    for path in sorted(key_dir.glob("*" + PUBLIC_SUFFIX)):
        kid, key = _read_public(path)
        if trusted.setdefault(kid, key) is not key:
            raise ConfigError(f"{path} holds a key that lies there under another name, too: a key has one role")
    return {kid: key for kid, key in trusted.items() if kid not in revoked}


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
    try:
        key = serialization.load_pem_private_key(read_file(path, private=True), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} is not a readable private key (unencrypted PEM): {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds another kind of key: halts are signed with Ed25519")
    return key


def _read_public(path: Path) -> tuple[str, TrustedKey]:
    try:
        key = serialization.load_pem_public_key(read_file(path))
    except ValueError as error:
        raise ConfigError(f"{path} is not a readable public key (PEM): {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} holds another kind of key: halts are signed with Ed25519")
    kid, named = key_id(key), _PUBLIC_NAME.fullmatch(path.name)
    if named is None or named[3] != kid:
        raise ConfigError(
            f"{path} holds the key {kid}: a public key is named for what it is, {kid}{PUBLIC_SUFFIX} or "
            f"ROLE.NAME.{kid}{PUBLIC_SUFFIX} (ROLE: detector, operator, subscriber; NAME: a-z 0-9 _ @ . -)"
        )
    role: Role = named[1] or "detector"  # type: ignore[assignment]  # one of three, says the pattern
    return kid, TrustedKey(key, role, named[2] or "")
