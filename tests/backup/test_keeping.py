"""Which backups stay, what an empty cluster is given, and the forms that pieces have: all without a store."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from support.rollout_world import ANN, DETECTOR, NOW, TRUSTED, halt

from pipeline.backup.again import LEAP, in_force, raised, unanswered
from pipeline.backup.config import BackupConfig, kept_paths
from pipeline.backup.create import new_id
from pipeline.backup.keeping import keep, unneeded
from pipeline.backup.manifest import Log, Manifest, Piece, believed, encode, unsigned
from pipeline.backup.packed import Flow, files_under, packed, unpacked
from pipeline.backup.records import Copied, newest, pack, segments, unpack
from pipeline.backup.report import Lost, lost_to_retention
from pipeline.correlate.config import CorrelateConfig
from pipeline.halt.believe import TrustedKey
from pipeline.halt.chain import Found, Head
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.signing import load_or_create
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.errors import AndonError, ConfigError
from pipeline.runtime.partials import PartialsConfig
from pipeline.wire.audit import AuditEntry, Place

START = datetime(2026, 11, 2, 3, tzinfo=UTC)  # a Monday


def backup(number: int, at: datetime, *objects: str) -> Manifest:
    """One that needs these objects."""
    ms = int(at.timestamp() * 1000)
    pieces = tuple(
        Piece(kind="part", name="p", object=name, sealed_bytes=1, plain_bytes=1, tag=name) for name in objects
    )
    return Manifest(
        id=f"b{number:03d}", began_at=ms, ended_at=ms + 1, version="", database="andon", rows={}, topics=(),
        archived=(Log(topic="t", partition=0, offset=10, last_at_ms=7),), copied=(), judged=(), keys_dir="",
        recipients=(), pieces=pieces,
    )  # fmt: skip


def test_the_newest_of_each_day_and_week() -> None:
    """Two backups a day for three weeks: of the last three days, and of the last two weeks, the newest stays."""
    made = [backup(n, START + timedelta(hours=12 * n)) for n in range(42)]
    stay, go = keep(made, 3, 2, lambda _: True)
    assert list(stay) == ["b041", "b039", "b037", "b027"]
    assert stay["b041"] == "the last good one, the newest of 2026-11-22, the newest of 2026 week 47"
    assert len(go) == 38


@pytest.mark.parametrize(("daily", "weekly"), [(0, 0), (1, 0), (7, 5)])
def test_the_last_good_one_stays(daily: int, weekly: int) -> None:
    """Whatever is to be kept; a newer one that cannot be restored takes no place; where none is good nothing goes."""
    made = [backup(n, START + timedelta(days=n)) for n in range(3)]
    stay, _ = keep(made, daily, weekly, lambda each: each.id == "b001")
    assert list(stay) == ["b001"]
    assert keep(made, daily, weekly, lambda _: False).go == []


def test_a_gap_takes_no_place() -> None:
    """A machine that was off for a year keeps as many days as it was told."""
    made = [backup(n, START + timedelta(days=at)) for n, at in enumerate((0, 1, 2, 400))]
    assert list(keep(made, 3, 0, lambda _: True).stay) == ["b003", "b002", "b001"]


def test_what_another_needs_stays() -> None:
    """An object goes when no backup that stays has it."""
    old, new = backup(0, START, "shared", "old"), backup(1, START, "shared", "new")
    assert unneeded({"shared", "old", "new", "orphan"}, [new]) == {"old", "orphan"}
    assert unneeded({"shared", "old", "new"}, [old, new]) == set()


def test_only_a_key_for_backups_signs_one() -> None:
    """Not a detector's; and not a byte of it may be another."""
    made = backup(0, START, "x")
    made = msgspec.structs.replace(made, kid=DETECTOR.kid)
    raw = encode(msgspec.structs.replace(made, sig=DETECTOR.sign_bytes(unsigned(made))))
    keys = {DETECTOR.kid: TrustedKey(DETECTOR.public, "backup", "nightly")}
    assert believed(raw, keys).objects == {"x"}
    with pytest.raises(UntrustedRecord):
        believed(raw.replace(b'"andon"', b'"other"'), keys)
    with pytest.raises(UntrustedRecord, match="detector"):
        believed(raw, TRUSTED)


def _copied(offset: int, key: bytes, value: bytes | None, partition: int = 0) -> Copied:
    return Copied(partition, offset, 1, key, value)


def test_the_newest_record_of_each_key() -> None:
    """Of a compacted topic; what was erased is not there; and segments end where they always end."""
    records = [_copied(0, b"a", b"1"), _copied(1, b"b", b"1"), _copied(2, b"a", b"2"), _copied(3, b"b", None)]
    assert newest(records) == [records[2]]
    many = [_copied(n, b"%d" % n, b"x") for n in range(9_990, 20_010)]
    cut = list(segments(many))
    assert [len(each) for each in cut] == [10, 10_000, 10]
    assert unpack(pack(cut[0])) == cut[0]
    assert pack(cut[1]) == pack(next(iter(segments(many[10:]))))
    with pytest.raises(ValueError):
        unpack(pack(cut[0])[:-3])


def test_a_halt_goes_far_beyond(tmp_path: Path) -> None:
    """At an epoch above all that may have been given since, from what the topic says or the audit beyond it; junk is
    not believed."""
    _, key, value = halt(epoch=3)
    _, _, later = halt(epoch=4)
    assert value is not None
    assert later is not None
    entry = AuditEntry(
        kind="answer", fleet="acme", seq=0, prev="", at=NOW, partials=Place(0, 0), halt=later.decode()
    )  # fmt: skip
    chains = {"acme": Found([entry], Head(), [])}
    found = in_force([_copied(0, key, value), _copied(1, b"acme/x/y/z", b"junk")], chains, TRUSTED)
    assert [(each.key, each.epoch) for each in found.halts.values()] == [(key.decode(), 4)]
    assert found.doubtful == ["acme/x/y/z"]
    again = raised(found.halts[key.decode()], "yesterday", NOW + 5, 1_000)
    assert (again.epoch, again.issued_at) == (4 + LEAP, NOW + 5)
    assert again.expires_at > NOW + 1_000
    assert again.reason == "5 hosts crashed (in force in the backup of yesterday)"


def test_a_command_that_the_audit_answers_is_not_put_back() -> None:
    """On the topic of a new cluster it would be another that replays it."""
    answered, waiting = ANN.says("force", NOW), ANN.says("force", NOW)
    entry = AuditEntry(
        kind="answer", fleet="acme", seq=0, prev="", at=NOW, partials=Place(0, 0), command=answered.decode()
    )  # fmt: skip
    records = [_copied(0, b"k", answered), _copied(1, b"k", waiting), _copied(2, b"k", b"junk")]
    assert unanswered(records, {"acme": Found([entry], Head(), [])}) == records[1:]


def test_what_retention_took_is_named() -> None:
    """From the place that the backup knows to where the log begins by now."""
    made = backup(0, START)
    assert lost_to_retention(made, {("t", 0): 10}, NOW) == []
    (lost,) = lost_to_retention(made, {("t", 0): 14}, NOW)
    assert lost == Lost("t", 0, 10, 14, 7, NOW, "what came after it was copied")


def test_what_is_kept_is_what_is_configured(tmp_path: Path) -> None:
    """The correlator's keys, the directory of trust, and every further path, each once; one that is not there is
    said."""
    keys, trust, more = tmp_path / "data" / "keys", tmp_path / "trust", tmp_path / "data" / "tokens.toml"
    load_or_create(keys)
    trust.mkdir()
    more.write_text("x", "utf-8")
    settings = CorrelateConfig(data_dir=str(tmp_path / "data")), TrustConfig(keys_dir=str(trust)), PartialsConfig()
    paths = f"{more}, {keys / 'signing.key.pem'}"
    assert kept_paths(BackupConfig(paths=paths), *settings) == [keys, trust, more]
    with pytest.raises(ConfigError, match=r"backup\.paths .*/nowhere"):
        kept_paths(BackupConfig(paths="/nowhere"), *settings)


def test_files_there_and_back(tmp_path: Path) -> None:
    """The same content gives the same bytes, whoever owns it and whenever it was made; what leads out of the folder is
    refused."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "key").write_bytes(b"secret" * 1000)
    (tmp_path / "a" / "b" / "key").chmod(0o600)
    (tmp_path / "a" / "empty").write_bytes(b"")
    files = [(name, tmp_path / "a" / name) for name in files_under(tmp_path / "a")]
    raw = b"".join(packed(files))
    (tmp_path / "a" / "b" / "key").touch()
    flow = Flow(packed(files))
    assert b"".join(iter(lambda: flow.read(777), b"")) == raw
    (tmp_path / "archive").write_bytes(raw)
    assert unpacked(tmp_path / "archive", tmp_path / "back") == ["b/key", "empty"]
    assert (tmp_path / "back" / "b" / "key").read_bytes() == b"secret" * 1000
    assert (tmp_path / "back" / "b" / "key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "archive").write_bytes(b"".join(packed([("../out", tmp_path / "a" / "empty")])))
    with pytest.raises(AndonError, match="no plain file"):
        unpacked(tmp_path / "archive", tmp_path / "back")


def test_later_backups_sort_behind_earlier_ones() -> None:
    """Also of the same second: the newest is what a restore takes."""
    ids = [new_id(1_700_000_000_000 + at_ms) for at_ms in (0, 1, 2, 9, 10, 99, 100, 999, 1_000)]
    assert ids == sorted(ids)
