"""What was copied of the topics, on its way onto a cluster that begins anew."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from consumers.clickhouse.archive.config import GROUP as ARCHIVE
from pipeline.backup.again import InForce, audits, in_force, raised, unanswered
from pipeline.backup.cluster import Cluster
from pipeline.backup.manifest import Manifest
from pipeline.backup.opened import Opened
from pipeline.backup.records import Copied
from pipeline.backup.report import Chain, Raised, moment
from pipeline.halt.chain import Found
from pipeline.halt.signing import PRIVATE_NAME, SigningKey, load_private
from pipeline.halt.trust import TrustedDirectory
from pipeline.wire.halts import Halt, encode_halt
from pipeline.wire.topics import AUDIT, COMMANDS, HALTS

ANY = -1  # partition: the one that the key's hash says


class Anew(NamedTuple):
    """By topic the records that go there as they were; and what stood in force."""

    manifest: Manifest
    records: Mapping[str, list[Copied]]
    chains: Mapping[str, Found]
    force: InForce
    key: SigningKey

    @classmethod
    def read(cls, opened: Opened, manifest: Manifest, keys_dir: Path) -> "Anew":
        """Unsealed, and believed by the keys that came with it.

        Raises:
            AndonError: when something cannot be read; ConfigError when the detector's key is not there.
        """
        records: dict[str, list[Copied]] = {}
        for piece in manifest.of_kind("records"):
            records.setdefault(piece.name, []).extend(opened.records(piece))
        key = load_private(keys_dir / PRIVATE_NAME)
        trusted = dict(TrustedDirectory(keys_dir, own=key))
        chains = audits(records.get(AUDIT.name, []), trusted)
        force = in_force(records.get(HALTS.name, []), chains, trusted)
        commands = unanswered(records.get(COMMANDS.name, []), chains)
        return cls(manifest, records | {COMMANDS.name: commands}, chains, force, key)

    @property
    def resumed(self) -> list[str]:
        """Keys whose newest record is a resume."""
        return sorted(halt.key for halt in self.force.halts.values() if halt.action == "resume")

    @property
    def doubtful(self) -> list[str]:
        """Keys whose records are not believed."""
        return self.force.doubtful

    @property
    def commands(self) -> int:
        """How many without an answer go back."""
        return len(self.records[COMMANDS.name])

    def audit(self) -> list[Chain]:
        """By fleet, in their order."""
        return [_chain(fleet, found) for fleet, found in sorted(self.chains.items())]

    def put(self, cluster: Cluster, now_ms: int, lifetime_ms: int) -> list[Raised]:
        """All of it onto the topics; the archive goes on behind what ClickHouse has. The halts that are raised."""
        standing = [halt for _, halt in sorted(self.force.halts.items()) if halt.action == "halt"]
        records = dict(self.records)
        records[HALTS.name] = self._resumes(records.get(HALTS.name, []))
        for topic, copied in records.items():
            cluster.put(topic, copied)
        cluster.take_place(ARCHIVE, self._archived(records))
        of = moment(self.manifest.began_at)
        again = [self.key.sign(raised(halt, of, now_ms, lifetime_ms)) for halt in standing]
        places = _places(self.records.get(HALTS.name, []))
        cluster.put(HALTS.name, [_record(halt, places.get(halt.key, ANY)) for halt in again])
        return [Raised(new.key, old.epoch, new.epoch) for old, new in zip(standing, again, strict=True)]

    def _resumes(self, copied: Iterable[Copied]) -> list[Copied]:
        """Records of the topic that are the newest of their key, and resumes; with those that only the audit has."""
        halts = self.force.halts
        resumes = {halt.key: halt for halt in halts.values() if halt.action == "resume"}
        there = [each for each in copied if (each.key or b"").decode("utf-8", "replace") in resumes]
        exact = [each for each in there if each.value == encode_halt(resumes[(each.key or b"").decode()])]
        missing = resumes.keys() - {(each.key or b"").decode() for each in exact}
        places = _places(there)
        return exact + [_record(resumes[key], places.get(key, ANY)) for key in sorted(missing)]

    def _archived(self, records: Mapping[str, list[Copied]]) -> dict[tuple[str, int], int]:
        """By partition, how many of the records that go back ClickHouse has."""
        stored = {(log.topic, log.partition): log.offset for log in self.manifest.archived}
        return {
            place: sum(each.partition == place[1] and each.offset < offset for each in records[place[0]])
            for place, offset in stored.items()
            if place[0] in records
        }


def _places(copied: Iterable[Copied]) -> dict[str, int]:
    """By key, the partition."""
    return {(each.key or b"").decode("utf-8", "replace"): each.partition for each in copied}


def _record(halt: Halt, partition: int) -> Copied:
    far = 2**62  # of no log: ClickHouse does not have it
    return Copied(partition, far, halt.issued_at, halt.key.encode(), encode_halt(halt))


def _chain(fleet: str, found: Found) -> Chain:
    at = found.entries[-1].at if found.entries else 0
    faults = [f"entry {fault.seq}: {fault.words}" for fault in found.faults]
    return Chain(fleet, len(found.entries), found.head.seq, found.head.digest, at, faults)
