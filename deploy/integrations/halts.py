"""halts.py KID.pub.pem… < records: what each record of fleet.halts says, one JSON record a line.

An example to copy: it needs `cryptography` and nothing of Andon. The rules that it keeps stand in README.md beside it.
"""

import base64
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

Record = dict[str, Any]
UPDATE = ("fleet", "vendor", "product", "version")


def load_keys(paths: Iterable[str]) -> dict[str, Ed25519PublicKey]:
    """Trusted public keys by their id: the first 16 hex digits of SHA-256 over the raw key."""
    keys = {}
    for path in paths:
        key = load_pem_public_key(Path(path).read_bytes())
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError(f"{path}: halts are signed with Ed25519")
        keys[hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]] = key
    return keys


def verified(record: bytes, keys: Mapping[str, Ed25519PublicKey]) -> Record:
    """The record, exactly as it was signed; any exception means: do not believe it."""
    claimed = json.loads(record)
    member = b',"sig":"%s"' % claimed["sig"].encode("ascii")
    if record.count(member) != 1:
        raise ValueError("not a canonical record")
    signed = record.replace(member, b"")
    keys[claimed["kid"]].verify(base64.b64decode(claimed["sig"], validate=True), signed)
    parsed: Record = json.loads(signed)
    return parsed


class Halts:
    """What is halted. Feed it every record, from the beginning of the topic."""

    def __init__(self) -> None:
        self.newest: dict[tuple[str, ...], Record] = {}

    def take(self, record: Record) -> bool:
        """False for a replay."""
        key = tuple(record[part] for part in UPDATE)
        known = self.newest.get(key)
        if known and (record["epoch"], record["issued_at"]) < (known["epoch"], known["issued_at"]):
            return False
        self.newest[key] = record
        return True

    def state(self, fleet: str, vendor: str, product: str, version: str, ring: str, now_ms: float | None = None) -> str:
        """`clear` is the only answer that lets a rollout go on."""
        record = self.newest.get((fleet, vendor, product, version))
        if record is None or record["action"] == "resume":
            return "clear"
        if "*" not in record["rings"] and ring not in record["rings"]:
            return "clear"
        now_ms = time.time() * 1000 if now_ms is None else now_ms
        return "halted" if now_ms < record["expires_at"] else "halted; the detector is silent"


if __name__ == "__main__":
    trusted, halts = load_keys(sys.argv[1:]), Halts()
    for line in sys.stdin.buffer:
        try:
            record = verified(line.strip(), trusted)
        except Exception as error:
            print("not believed:", repr(error))
            continue
        words = "new" if halts.take(record) else "replay, ignored"
        print(words, record["action"], *(record[part] for part in (*UPDATE, "rings")))
