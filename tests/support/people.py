"""Operators with keys of their own, and what they sign."""

from itertools import count
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.correlate.ports import CommandRecord
from pipeline.halt.signing import SigningKey
from pipeline.halt.verify import TrustedKey
from pipeline.wire.commands import Command, command_digest, decode_command, encode_command
from pipeline.wire.halts import Halt

_ids = count(1)


class Operator:
    """A person with a key."""

    def __init__(self, name: str, directory: Path | None = None) -> None:
        self.name = name
        self.key = SigningKey(Ed25519PrivateKey.generate())
        if directory is not None:
            self.is_trusted_in(directory)

    def is_trusted_in(self, directory: Path) -> None:
        """Put the public half into a directory of trust."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        path = directory / f"operator.{self.name}.{self.key.kid}.pub.pem"
        path.write_bytes(self.key.public.public_bytes(*form))
        path.chmod(0o644)

    @property
    def trusted(self) -> dict[str, TrustedKey]:
        """The entry of a table of trust."""
        return {self.key.kid: TrustedKey(self.key.public, "operator", self.name)}

    def says(self, kind: str, at: int, **fields: Any) -> bytes:
        """A signed command about acme's v/p/1, unless told otherwise."""
        about = {"fleet": "acme", "vendor": "v", "product": "p", "version": "1", "rings": ("*",), "epoch": 1}
        words = {"id": f"c{next(_ids)}", "reason": "a false alarm", "operator": self.name, "at": at}
        return encode_command(self.key.sign_word(Command(**{"kind": kind, **about, **words, **fields})))

    def approves(self, raw: bytes, at: int, **fields: Any) -> bytes:
        """The approval of a proposal."""
        proposed = decode_command(raw)
        same = {name: getattr(proposed, name) for name in ("fleet", "vendor", "product", "version", "rings", "epoch")}
        return self.says("approve", at, **same | {"approves": proposed.id, "digest": command_digest(raw)} | fields)


ANN, BOB, CAROL = Operator("ann"), Operator("bob"), Operator("carol")
OPERATORS = ANN.trusted | BOB.trusted | CAROL.trusted


def ordered(resume: Halt, *by: Operator) -> Halt:
    """The resume with the orders of two operators, unsigned."""
    first, second = by or (ANN, BOB)
    about = {"fleet": resume.fleet, "vendor": resume.vendor, "product": resume.product, "version": resume.version}
    same: dict[str, Any] = {**about, "rings": resume.rings, "epoch": resume.epoch - 1}
    raw = first.says("resume", resume.issued_at, **same, expires_at=resume.expires_at)
    orders = raw.decode(), second.approves(raw, resume.issued_at).decode()
    return resume.__class__(**{**{f: getattr(resume, f) for f in resume.__struct_fields__}, "orders": orders})


def sent(raw: bytes, offset: int, appended_at_ms: int) -> CommandRecord:
    """A record of `fleet.commands` under its own key; junk under that of acme's v/p/1."""
    try:
        key = decode_command(raw).key
    except ValueError:
        key = "acme/v/p/1"
    return CommandRecord(0, offset, key.encode(), raw, appended_at_ms)
