"""Two losses, and back: ClickHouse and every directory with Kafka left, and Kafka as well."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.backup.line import POLICY, Line, Vault, done, under
from support.brokers import memory
from support.outside import incident
from support.rollout_world import ANN, BOB
from support.waiting import until

from pipeline.audit.check import check
from pipeline.backup.again import LEAP
from pipeline.halt.chain import AuditRecord
from pipeline.halt.safety import SafetyRecord
from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.runtime.clock import wall_clock_ms
from pipeline.wire.commands import decode_command
from pipeline.wire.halts import Halt
from pipeline.wire.spans import HOUR_MS
from pipeline.wire.topics import AUDIT, COMMANDS, EVENTS, HALTS, PARTIALS

HALTED, RESUMED = "acme/crowdstrike/content/291", "zeta/badvendor/content/291"


class Night(NamedTuple):
    """A line that was backed up while it ran, took in more, and was killed."""

    line: Line
    vault: Vault
    manifest: dict[str, Any]
    halts: dict[str, Halt]
    saved: dict[str, int]  # events by fleet, when the backup was made
    later: int  # events after it


def order(line: Line, command: bytes) -> None:
    """A signed command, onto its topic."""
    line.put(COMMANDS.name, decode_command(command).key.encode(), command)


@pytest.fixture(scope="module")
def night(kafka: KafkaCluster, schema: Path) -> Iterator[Night]:
    """Two fleets halted, one resumed by two operators; a backup; more events; and everything is killed."""
    with memory() as directory:
        vault = Vault(directory / "vault")
        line = Line(under(kafka.client_options(), "backup-night."), directory / "line", [])
        line.begin(schema, POLICY)
        for operator in (ANN, BOB):
            operator.is_trusted_in(line.data / "correlate" / "keys")
        line.produce([*incident("acme", "crowdstrike", "a"), *incident("zeta", "badvendor", "b", hosts=800)])
        until("both are halted", lambda: {HALTED, RESUMED} <= line.halts().keys())
        _resume(line)
        until("all is counted, and saved", lambda: line.saved() == line.written())
        saved = line.saved()
        manifest = line.create(vault)["manifest"]
        line.produce(later := incident("acme", "crowdstrike", "a", hosts=500, seed=8, name="later"))
        until("all is counted", lambda: line.counted() == line.written())
        halts = line.halts()
        line.kill()
        yield Night(line, vault, manifest, halts, saved, len(later))
        line.kill()


def _resume(line: Line) -> None:
    now_ms, halt = wall_clock_ms(), line.halts()[RESUMED]
    about = {"fleet": "zeta", "vendor": "badvendor", "product": "content", "version": "291", "epoch": halt.epoch}
    proposal = ANN.says("resume", now_ms, **about, expires_at=now_ms + HOUR_MS)
    order(line, proposal)
    order(line, BOB.approves(proposal, now_ms))
    until("it is resumed", lambda: line.halts()[RESUMED].action == "resume")


def test_clickhouse_and_every_directory_are_lost(night: Night) -> None:
    """Kafka has what it had: after restore and catch-up every count of ClickHouse and of the detector is the ledger's,
    and what was halted is so at the epoch that it had, by the key that it had."""
    line = night.line
    line.lose()
    report = json.loads(done(line.restore(night.vault, "--kafka", "survived")))
    assert report["lost"] == []
    line.start()
    assert line.wrong() == {}
    until("the detector has counted all", lambda: line.counted() == line.written())
    assert {key: (halt.epoch, halt.kid) for key, halt in line.halts().items()} == {
        key: (halt.epoch, halt.kid) for key, halt in night.halts.items()
    }
    line.kill()


def test_kafka_is_lost_too(night: Night, kafka: KafkaCluster) -> None:
    """On a cluster that begins anew the halt is in force at a higher epoch, also for a reader that saw the old one; the
    resume stands as it was signed; the audit is whole and goes on; and what is lost is told from the last offset and
    moment that the backup has."""
    old = night.line
    fresh = Line(under(kafka.client_options(), "backup-anew."), old.directory.parent / "anew", [])
    fresh.data = old.data
    fresh.empty()
    try:
        report = json.loads(done(fresh.restore(night.vault, "--kafka", "lost", "--root", fresh.directory / "root")))
        fresh.data = fresh.directory / "root" / str(old.data).lstrip("/")
        trusted = fresh.trusted()
        reader = SafetyRecord(trusted)
        for key, value in [*old.records(HALTS.name), *fresh.records(HALTS.name)]:
            assert reader.take_halt(key, value) == "" or key != HALTED.encode()
        assert reader.halts[HALTED].epoch == night.halts[HALTED].epoch + LEAP
        assert report["raised"] == [
            {"halt": HALTED, "was": night.halts[HALTED].epoch, "epoch": night.halts[HALTED].epoch + LEAP}
        ]
        assert report["resumed"] == [RESUMED]
        assert fresh.halts()[RESUMED] == night.halts[RESUMED]
        assert report["commands"] == 0
        _loss_is_stated(night, report)
        fresh.start()
        until("the raised halt is in the audit", lambda: _audited(fresh, HALTED))
        (acme, zeta) = check("Kafka", _audit(fresh), trusted, {})
        assert (acme.faults, zeta.faults) == ([], [])
        assert {each["fleet"]: each["faults"] for each in report["audit"]} == {"acme": [], "zeta": []}
        assert fresh.counted() == night.saved
    finally:
        fresh.kill()


def _loss_is_stated(night: Night, report: dict[str, Any]) -> None:
    """Of every log that had more: from the offset on that the backup ends with, after a moment that lies before it."""
    told = {(each["topic"], each["partition"]): each for each in report["lost"]}
    lost = [each for each in told.values() if each["topic"] in (EVENTS.name, PARTIALS.name)]
    assert len(lost) == EVENTS.partitions + PARTIALS.partitions
    kept = sum(each["from_offset"] for each in lost if each["topic"] == EVENTS.name)
    assert kept == sum(night.saved.values())
    assert len(night.line.ledger) - kept == night.later
    for each in told.values():
        assert each["upto_offset"] == -1
        assert 0 <= each["from_ms"] <= night.manifest["ended_at"] < each["until_ms"]
    assert all(each["from_ms"] > 0 for each in lost)


def _audit(line: Line) -> list[AuditRecord]:
    return [AuditRecord(key, value, 0, offset) for offset, (key, value) in enumerate(line.records(AUDIT.name))]


def _audited(line: Line, key: str) -> bool:
    """Whether the record that stands on the topic of halts is in the audit."""
    text = f'"epoch\\":{line.halts()[key].epoch}'.encode()
    return any(text in (record.value or b"") for record in _audit(line))
