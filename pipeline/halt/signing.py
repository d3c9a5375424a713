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
from typing import TypeVar, get_args

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pipeline.halt.approval import check_orders
from pipeline.halt.believe import Role, TrustedKey, verify_signature
from pipeline.halt.believe import TrustedKeys as TrustedKeys
from pipeline.halt.errors import BadSignature
from pipeline.halt.trusted_paths import check_directory, read_file
from pipeline.runtime.errors import ConfigError
from pipeline.wire.acks import HaltAck
from pipeline.wire.audit import AuditEntry
from pipeline.wire.commands import Command
from pipeline.wire.halts import Halt, canonical_bytes, decode_halt, encode_halt
from pipeline.wire.verdicts import FleetAlarm, FleetHeartbeat, Verdict, Word

PRIVATE_NAME = "signing.key.pem"
PUBLIC_SUFFIX, REVOKED_SUFFIX = ".pub.pem", ".revoked"
KID_CHARS = 16
_KID = re.compile(rf"[0-9a-f]{{{KID_CHARS}}}")
_OWNER = re.compile(r"[a-z0-9][a-z0-9_@.-]{0,63}")
_PUBLIC_NAME = re.compile(
    rf"(?:({'|'.join(get_args(Role))})\.({_OWNER.pattern})\.)?({_KID.pattern}){re.escape(PUBLIC_SUFFIX)}"
)

R = TypeVar("R", Verdict, FleetHeartbeat, FleetAlarm, Word, HaltAck, Command, AuditEntry)


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

    def sign_bytes(self, raw: bytes) -> str:
        """The signature of what is no record of Andon's topics, base64."""
        return base64.b64encode(self._private.sign(raw)).decode("ascii")

    def derived(self, purpose: bytes) -> bytes:
        """32 bytes that only who has this key can know, another for each purpose (HKDF-SHA256)."""
        return HKDF(hashes.SHA256(), 32, salt=None, info=purpose).derive(self._private.private_bytes_raw())

    def sign_word(self, record: R) -> R:
        """A record that is no halt, with this key's `kid` and signature, over its canonical bytes."""
        own = msgspec.structs.replace(record, kid=self.kid, sig="")
        return msgspec.structs.replace(own, sig=self._signature(own))

    def _signature(self, record: Halt | Word | HaltAck | Command | AuditEntry) -> str:
        return self.sign_bytes(canonical_bytes(record))


def verify(halt: Halt, trusted: TrustedKeys) -> None:
    """Return when a detector's key signed exactly this record, and two operators what a resume orders.

    Raises:
        UnknownKey, WrongRole, BadSignature, Unapproved: all UntrustedRecord.
    """
    try:
        signed = canonical_bytes(halt)
    except TypeError as error:  # a number of more than 64 bits, which no record of ours has
        raise BadSignature(str(error)) from None
    verify_signature(signed, halt.kid, halt.sig, trusted, "detector")
    check_orders(halt, trusted)


def load_or_create(key_dir: Path) -> SigningKey:
    """The detector's key of this directory, made on first use.

    Raises:
        ConfigError: when others could have put it there or may read it, it is not an Ed25519 key, or it is revoked.
    """
    key_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    check_directory(key_dir)
    path = key_dir / PRIVATE_NAME
    if not os.path.lexists(path):
        write_new(path, private_pem(Ed25519PrivateKey.generate()), mode=0o600)
    key = SigningKey(read_private(path))
    if key.kid in revoked_kids(key_dir):
        raise ConfigError(
            f"{path} holds the key {key.kid}, which is revoked: nobody believes it. `andon keys rotate detector` makes "
            "the next one, and with --switch puts it in this one's place"
        )
    if not any(key_dir.glob(f"*{key.kid}{PUBLIC_SUFFIX}")):
        write_new(key_dir / f"{key.kid}{PUBLIC_SUFFIX}", public_pem(key.public), mode=0o644)
    return key


def load_private(path: Path) -> SigningKey:
    """Somebody's own key, from the file that `andon keys new` made or another unencrypted PEM.

    Raises:
        ConfigError: when others may read it or could have put it there, or it is not an Ed25519 key.
    """
    check_directory(path.absolute().parent)
    return SigningKey(read_private(path))


def load_trusted(key_dir: Path) -> dict[str, TrustedKey]:
    """Every public key of the directory that is not revoked, by its `kid`; none when there is no such directory yet.

    Raises:
        ConfigError: when others could have put a key there, a file is not the Ed25519 key that it is named for, or a
            revocation does not say of which key.
    """
    if not os.path.lexists(key_dir):
        return {}
    check_directory(key_dir)
    revoked = revoked_kids(key_dir)
    trusted: dict[str, TrustedKey] = {}
    for path in files(key_dir, PUBLIC_SUFFIX):
        kid, key = read_public(path)
        if trusted.setdefault(kid, key) is not key:
            raise ConfigError(f"{path} holds a key that lies there under another name, too: a key has one role")
    return {kid: key for kid, key in trusted.items() if kid not in revoked}


def files(key_dir: Path, suffix: str) -> list[Path]:
    """The directory's files whose names end so, by name.

    Raises:
        ConfigError: when nobody may list it: what it holds, and what it revokes, is not known then.
    """
    try:
        return sorted(key_dir / name for name in os.listdir(key_dir) if name.endswith(suffix))
    except OSError as error:
        raise ConfigError(f"{key_dir} cannot be listed: {error.strerror}") from None


def revoked_kids(key_dir: Path) -> set[str]:
    """The keys that are revoked here.

    Raises:
        ConfigError: for a revocation that names no key: the one that was meant would still be believed.
    """
    return {revoked_kid(path) for path in files(key_dir, REVOKED_SUFFIX)}


def revoked_kid(path: Path) -> str:
    """Which key this file revokes. Raises ConfigError when its name does not say."""
    kid = path.name.removesuffix(REVOKED_SUFFIX)
    if not _KID.fullmatch(kid):
        raise ConfigError(f"{path} revokes no key: it is named KID{REVOKED_SUFFIX}, of {KID_CHARS} digits 0-9 a-f")
    return kid


def private_pem(private: Ed25519PrivateKey) -> bytes:
    """The private half, unencrypted."""
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(public: Ed25519PublicKey) -> bytes:
    """The public half."""
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def write_new(path: Path, content: bytes, mode: int) -> bool:
    """Complete and durable or not at all, and never over a file that is there: then False."""
    handle, name = tempfile.mkstemp(dir=path.parent)  # 0600 from the start
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(handle, mode)
            file.flush()
            os.fsync(handle)
        os.link(name, path)
    except FileExistsError:
        return False
    finally:
        Path(name).unlink()
    settle(path.parent)
    return True


def settle(directory: Path) -> None:
    """What was made, renamed or removed there outlives a loss of power."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_private(path: Path) -> Ed25519PrivateKey:
    """A private key of a directory that was checked.

    Raises:
        ConfigError: when others may read or write the file, or it is not an Ed25519 key.
    """
    try:
        key = serialization.load_pem_private_key(read_file(path, private=True), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} is not a readable private key (unencrypted PEM): {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds another kind of key: halts are signed with Ed25519")
    return key


def read_public(path: Path) -> tuple[str, TrustedKey]:
    """A public key and its `kid`.

    Raises:
        ConfigError: when others could have put it there, or it is not the Ed25519 key that it is named for.
    """
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
            f"ROLE.NAME.{kid}{PUBLIC_SUFFIX} (ROLE: {', '.join(get_args(Role))}; NAME: a-z 0-9 _ @ . -)"
        )
    role: Role = named[1] or "detector"  # type: ignore[assignment]  # one of them, says the pattern
    return kid, TrustedKey(key, role, named[2] or "")


def is_name(name: str) -> bool:
    """Whether a key's owner may be called so."""
    return _OWNER.fullmatch(name) is not None
