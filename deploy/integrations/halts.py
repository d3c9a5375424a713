"""halts.py KEYS/*.pub.pem < records: what fleet.halts and the heartbeats of fleet.verdicts say, one record a line.

A line is KEY, a tab and the record (kcat -f '%k\\t%s\\n'); of records alone nobody sees which were erased.
An example to copy: it needs `cryptography` and nothing of Andon. The rules that it keeps stand in README.md beside it.
"""

import base64
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

Record = dict[str, Any]
Operators = Mapping[str, tuple[str, Ed25519PublicKey]]
UPDATE = ("fleet", "vendor", "product", "version")
FRESH_MS = 30_000  # three heartbeats
DEAF = {"stream_time_ahead", "halt_records_unread"}  # flags of a heartbeat whose detector does not hear all
UNQUOTED = " !$&'()*+,;=:@"


def load_keys(paths: Iterable[str], operators: bool = False) -> dict[str, Ed25519PublicKey]:
    """Detectors' public keys, or operators', by their id: the first 16 hex digits of SHA-256 over the raw key. Those of
    operators and subscribers sign no halts, and what KID.revoked lies beside signs nothing."""
    keys = {}
    for path in paths:
        role = Path(path).name.partition(".")[0]
        if role == "subscriber" or (role == "operator") != operators:
            continue
        key = load_pem_public_key(Path(path).read_bytes())
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError(f"{path}: halts are signed with Ed25519")
        kid = hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]
        if not Path(path).with_name(f"{kid}.revoked").exists():
            keys[kid] = key
    return keys


def verified(record: bytes, keys: Mapping[str, Ed25519PublicKey], whose: str = "detector") -> Record:
    """The record, exactly as it was signed; any exception means: do not believe it."""
    claimed = json.loads(record)
    member = b',"sig":"%s"' % claimed["sig"].encode("ascii")
    if record.count(member) != 1:
        raise ValueError("not a canonical record")
    signed = record.replace(member, b"")
    if claimed["kid"] not in keys:
        raise ValueError(f"no key of this {whose} ({claimed['kid']}): name all public keys, KEYS/*.pub.pem")
    keys[claimed["kid"]].verify(base64.b64decode(claimed["sig"], validate=True), signed)
    parsed: Record = json.loads(signed)
    return parsed


def load_operators(paths: Iterable[str]) -> Operators:
    """Operators by their key's id: the name that their file has (operator.NAME.KID.pub.pem), and the key."""
    named = {Path(path).name.split(".")[-3]: Path(path).name for path in paths if "operator." in Path(path).name}
    keys = load_keys(paths, operators=True)
    return {kid: (named[kid].removeprefix("operator.").removesuffix(f".{kid}.pub.pem"), keys[kid]) for kid in keys}


def approved(resume: Record, operators: Operators) -> None:
    """Two operators signed a proposal and its approval for this very resume; any exception means: they did not."""
    orders = [order.encode() for order in resume["orders"]]
    keys = {kid: key for kid, (_, key) in operators.items()}
    first, second = (verified(order, keys, "operator") for order in orders)
    same = [(order["fleet"], order["vendor"], order["product"], order["version"]) for order in (first, second, resume)]
    digest = hashlib.sha256(orders[0]).hexdigest()
    holds = (
        all(each["operator"] == operators[each["kid"]][0] for each in (first, second))
        and first["operator"] != second["operator"]
        and first["kid"] != second["kid"]
        and first["kind"] in ("resume", "extend")
        and (second["kind"], second["approves"], second["digest"]) == ("approve", first["id"], digest)
        and len(set(same)) == 1
        and first["rings"] == second["rings"] == resume["rings"]
        and first["epoch"] == second["epoch"] == resume["epoch"] - 1
        and first["expires_at"] == resume["expires_at"]
        and abs(second["at"] - first["at"]) <= 3_600_000
    )
    if not holds:
        raise ValueError("two operators did not sign this resume")


def key_of(*parts: str) -> str:
    """The Kafka key of a record: its parts, percent-encoded. Of fleet.halts: fleet, vendor, product, version."""
    return "/".join(quote(part, safe=UNQUOTED) for part in parts)


def rank(halt: Record) -> tuple[int, bool, int]:
    """The newer of two records of a key ranks higher: a resume lifts only halts of lower epochs."""
    return halt["epoch"], halt["action"] == "halt", halt["issued_at"]


class Halts:
    """What is halted, and whether that is known. Feed it every record, from the beginning of both topics."""

    def __init__(self) -> None:
        self.newest: dict[str, Record] = {}  # by Kafka key
        self.doubts: dict[str, str] = {}  # by Kafka key: why its newest record cannot be believed
        self.beats: dict[str, Record] = {}  # by fleet: its newest heartbeat

    def take(self, record: Record) -> bool:
        """A verified record of fleet.halts, or a heartbeat. False for a replay."""
        if record.get("kind") == "heartbeat":
            return self._take_beat(record)
        key = key_of(*(record[part] for part in UPDATE))
        known = self.newest.get(key)
        if known and rank(record) < rank(known):
            return False
        self.newest[key] = record
        self.doubts.pop(key, None)
        return True

    def _take_beat(self, beat: Record) -> bool:
        known = self.beats.get(beat["fleet"])
        if known and beat["at"] < known["at"]:
            return False
        self.beats[beat["fleet"]] = beat
        return True

    def doubt(self, key: str, why: str) -> None:
        """The newest record of this key of fleet.halts was erased, or does not verify."""
        self.doubts[key] = why

    def state(self, fleet: str, vendor: str, product: str, version: str, ring: str, now_ms: float | None = None) -> str:
        """`clear` is the only answer that lets a rollout go on."""
        now_ms = time.time() * 1000 if now_ms is None else now_ms
        key = key_of(fleet, vendor, product, version)
        record = self.newest.get(key)
        if record and record["action"] == "halt" and {"*", ring} & set(record["rings"]):
            return "halted" if now_ms < record["expires_at"] else "halted; the detector is silent"
        why = self.doubts.get(key) or self._deaf(fleet, now_ms) or self._missing(fleet, key)
        return f"unknown: {why}" if why else "clear"

    def _deaf(self, fleet: str, now_ms: float) -> str:
        beat = self.beats.get(fleet)
        if beat is None:
            return "no heartbeat was heard"
        if abs(now_ms - beat["at"]) > FRESH_MS:
            return "the newest heartbeat is not of the last 30 seconds"
        return ", ".join(sorted(DEAF & set(beat["flags"])))

    def _missing(self, fleet: str, key: str) -> str:
        beat = self.beats[fleet]
        if beat["standing"] is None:
            return "the heartbeat does not say what stands halted"
        held = self.newest.get(key, {"epoch": 0})
        if any(named["key"] == key and held["epoch"] < named["epoch"] for named in beat["standing"]):
            return "the heartbeat names a halt whose record is missing"
        shown = sum(record["fleet"] == fleet and record["action"] == "halt" for record in self.newest.values())
        if shown < beat["standing_total"] > len(beat["standing"]):
            return "more halts stand than there are records"
        return ""


def own_key(record: Record) -> str:
    """The Kafka key that a record belongs under: three parts of a heartbeat, four of a halt, five of a verdict."""
    if record.get("kind") == "heartbeat":
        return key_of(record["fleet"], "-", "heartbeat")
    return key_of(*(record[part] for part in (*UPDATE, "ring") if part in record))


def read(
    line: bytes,
    keys: Mapping[str, Ed25519PublicKey],
    halts: Halts,
    operators: Operators = MappingProxyType({}),
) -> str:
    """Take in a line; what it makes news."""
    key, tab, value = line.rstrip(b"\r\n").partition(b"\t")
    name = key.decode("utf-8", "backslashreplace") if tab else ""
    if tab and not value:
        halts.doubt(name, "its record was erased")
        return f"erased: {name!a}"
    try:
        record = verified(value if tab else key, keys)
        if tab and name != own_key(record):
            raise ValueError("it stands under another key")
        if record.get("action") == "resume":
            approved(record, operators)
    except Exception as error:
        halts.doubt(name, f"its newest record is not to be believed ({type(error).__name__})")
        return f"not believed: {error!a}"
    if "ring" in record:
        return ""  # a verdict
    words = "new" if halts.take(record) else "replay, ignored"
    if "action" not in record:
        return "" if words == "new" else f"{words}: heartbeat of {record['fleet']!a}"
    said = " ".join([words, record["action"], *(str(record[part]) for part in (*UPDATE, "rings"))])
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in said)  # names come from endpoints


if __name__ == "__main__":
    trusted, people, known = load_keys(sys.argv[1:]), load_operators(sys.argv[1:]), Halts()
    for line in sys.stdin.buffer:
        if news := read(line, trusted, known, people):
            print(news, flush=True)
