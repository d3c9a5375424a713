"""People in command on an Apache Kafka with SASL and ACLs: each with the account of their role, by the command line;
what is refused there, and a correlator that is killed between the topics."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from confluent_kafka import Producer
from correlate.test_people import Line
from support.correlate_worker import partial
from support.rollout_world import Operator
from support.secured import options
from support.waiting import DEADLINE_SECONDS, until

from pipeline.access.main import command as topics_command
from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, producer_config
from pipeline.simulate.sinks import KafkaSink
from pipeline.wire import topics
from pipeline.wire.audit import AuditEntry, decode_entry
from pipeline.wire.commands import command_digest, decode_command
from pipeline.wire.partials import UpdateId
from pipeline.wire.spans import HOUR_MS

ACLS = Path(__file__).parents[2] / "deploy" / "acls.toml"
USERS = {"correlate": "andon-correlate", "operator": "andon-operator", "subscriber": "rollout", "watch": "andon-watch"}


class SecuredLine(Line):
    """Operators and correlator, each under an account that `andon topics apply --acls` gave its rights."""

    def __init__(self, cluster: KafkaCluster, directory: Path) -> None:
        prefix = f"{directory.name}."
        admin = msgspec.structs.replace(cluster.client_options(), topic_prefix=prefix)
        text = ACLS.read_text("utf-8")
        self.accounts: dict[str, KafkaConfig] = {}
        for role, user in USERS.items():
            text = text.replace(f'users = ["{user}"]', f'users = ["{prefix}{user}"]')
            account = cluster.security.add_user(cluster.bootstrap_servers, f"{prefix}{user}")
            self.accounts[role] = msgspec.structs.replace(account, topic_prefix=prefix)
        (directory / "acls.toml").write_text(text, "utf-8")
        super().__init__(admin, directory, self.accounts["correlate"], self.accounts["operator"])

    def make_topics(self) -> None:
        """With the rights on them."""
        words = ["apply", *options(self.kafka), "--acls", str(self.directory / "acls.toml")]
        environ = {"ANDON_KAFKA_SASL_PASSWORD": self.kafka.sasl_password}
        made = CliRunner().invoke(topics_command, words, env=environ)
        assert made.exit_code == 0, made.output

    def send(self, role: str, *raws: bytes, key: str = "acme/v/p/1") -> None:
        """Commands as they are, by whoever has this role's account."""
        producer = Producer(producer_config(self.accounts[role], "test"))
        for raw in raws:
            producer.produce(self.kafka.topic_prefix + topics.COMMANDS.name, raw, key.encode())
        assert producer.flush(DEADLINE_SECONDS) == 0

    def answers(self) -> dict[str, AuditEntry]:
        """By the command's id; each was answered once."""
        entries = [decode_entry(message.value()) for message in self.records(topics.AUDIT.name)]
        found = [(decode_command(entry.command.encode()).id, entry) for entry in entries if entry.kind == "answer"]
        assert len(found) == len(dict(found))
        return dict(found)

    def letters(self) -> list[str]:
        """Of each command that was set aside, the detail."""
        headers = [dict(message.headers()) for message in self.records(topics.DEADLETTER.name)]
        assert {each["reason"] for each in headers} <= {b"untrusted_command"}
        return [each["detail"].decode() for each in headers]


@pytest.fixture
def line(sasl_kafka: KafkaCluster, tmp_path: Path) -> Iterator[SecuredLine]:
    """A correlator with a halt of v/p/1, and two operators."""
    running = SecuredLine(sasl_kafka, tmp_path)
    yield running
    running.kill()


def answered(done: subprocess.CompletedProcess[str]) -> AuditEntry:
    """By `--json`, of a command that was applied."""
    assert done.returncode == 0, done.stdout + done.stderr
    return msgspec.json.decode(done.stdout, type=AuditEntry)


def test_each_command_works_by_the_role_operator(line: SecuredLine) -> None:
    """Force, resume, approve, extend; each answer names the partial from which on it holds, behind all that were taken
    in. Who may only look, or has a rollout system's account, is told that they may not order."""
    line.produce(partial("acme", 60, (UpdateId("pending", "p", "7"),), at=1))
    line.wait_for(lambda: line.fleets()["acme"]["partials"] == 2)
    taken = line.last_offset()
    why = ("--reason", "seen to break", "--json")
    forced = answered(line.order("ann", "force", "v/p/2", *why))
    resumed = answered(line.order("ann", "resume", "v/p/1", "--for", "1h", *why))
    approved = answered(line.order("bob", "approve", json.loads(resumed.command)["id"], "--yes", "--json"))
    extended = answered(line.order("bob", "extend", "v/p/1", "--for", "9h", *why))
    longer = answered(line.order("ann", "approve", json.loads(extended.command)["id"], "--yes", "--json"))
    released = answered(line.order("bob", "approve", "pending/p/7", "--yes", "--json"))
    entries = (forced, resumed, approved, extended, longer, released)
    assert [entry.effect for entry in entries] == ["forced", "", "resumed", "", "", "released"]
    assert {entry.partials.offset > taken for entry in entries} == {True}
    line.produce(partial("acme", 1, at=2))
    assert {entry.partials.offset <= line.last_offset() for entry in entries} == {True}
    assert [(halt.action, halt.version, halt.epoch) for halt in line.halts()] == [
        ("halt", "1", 1),
        ("halt", "2", 1),
        ("resume", "1", 2),
        ("resume", "1", 3),
        ("halt", "7", 1),
    ]
    spoken = line.order("ann", "force", "v/p/3", "--reason", "no").stdout
    assert "from partial " in spoken
    watcher = line.order("ann", "force", "v/p/4", "--reason", "no", account=line.accounts["watch"])
    assert (watcher.returncode, watcher.stdout) == (1, "")
    assert "the command was not sent to " in watcher.stderr
    assert "fleet.commands: this account may not do that with the topic; `andon doctor --as ROLE`" in watcher.stderr
    sink = KafkaSink(line.accounts["watch"])
    sink.send(b"k", b"v")
    with pytest.raises(AndonError, match="this account may not do that with the topic"):
        sink.settle()
    stranger = line.order("ann", "force", "v/p/4", "--reason", "no", account=line.accounts["subscriber"])
    assert (stranger.returncode, stranger.stdout) == (1, "")
    assert "this account may not use that consumer group; `andon doctor --as ROLE`" in stranger.stderr
    assert "Traceback" not in stranger.stderr


def test_what_is_refused_there(line: SecuredLine) -> None:
    """An own approval, one too late, another text than was proposed; and what no operator signed so is set aside: an
    altered text, another fleet's, a subscriber's key. Nothing of it reaches fleet.halts."""
    ann, bob = line.operators["ann"], line.operators["bob"]
    now = wall_clock_ms()
    proposal = ann.says("resume", now, expires_at=now + HOUR_MS, id="mine")
    old = bob.says("resume", now - HOUR_MS - 1, expires_at=now + HOUR_MS, id="old")
    altered = proposal.replace(b"a false alarm", b"a real  alarm")
    line.send("operator", proposal, altered, old)
    line.send("operator", ann.approves(proposal, now, id="own"), bob.approves(old, now, id="late"))
    line.send("operator", bob.approves(proposal, now, id="other", digest=command_digest(altered)))
    line.send("operator", ann.says("force", now, fleet="zeta", id="moved"))  # under acme's key
    rollout = Operator("rollout")
    public = line.keys / f"operator.{rollout.name}.{rollout.key.kid}.pub.pem"
    rollout.is_trusted_in(line.keys)
    public.rename(line.keys / public.name.replace("operator", "subscriber"))
    line.send("operator", rollout.says("force", now, id="subscriber"))
    line.send("operator", bob.approves(proposal, now, id="good"))
    line.wait_for(lambda: "good" in line.answers())
    told = {id: (entry.outcome, entry.why) for id, entry in line.answers().items()}
    assert told == {
        "mine": ("applied", ""),
        "old": ("refused", "too_old"),
        "own": ("refused", "not_approved"),
        "late": ("refused", "unknown_proposal"),
        "other": ("refused", "not_approved"),
        "good": ("applied", ""),
    }
    assert [detail.partition(":")[0] for detail in line.letters()] == ["bad_signature", "wrong_key", "wrong_role"]
    assert [(halt.action, halt.epoch) for halt in line.halts()] == [("halt", 1), ("resume", 2)]


def test_killed_between_command_answer_and_halt(line: SecuredLine) -> None:
    """Killed -9 before and after the answer is on fleet.audit, before and after the halt is on fleet.halts: whoever
    asked is answered once, the halt is there once, and the audit is whole."""
    moments = [f"{when} {topic.name}" for topic in (topics.AUDIT, topics.HALTS) for when in ("before", "after")]
    order = line.directory / "die"
    ann = line.operators["ann"]
    for number, moment in enumerate(moments):
        order.write_text(moment, "utf-8")
        line.send(
            "operator",
            ann.says("force", wall_clock_ms(), id=f"c{number}", version=f"9{number}", epoch=0),
            key=f"acme/v/p/9{number}",
        )
        process = line.process
        assert process is not None
        until(moment, lambda p=process: not p.is_running)  # type: ignore[misc]
        assert not order.exists()
        line.start()
        line.wait_for(lambda n=number: f"c{n}" in line.answers())  # type: ignore[misc]
    line.wait_for(lambda: len(line.halts()) == 1 + len(moments))
    assert [entry.effect for entry in line.answers().values()] == ["forced"] * len(moments)
    assert sorted((halt.version, halt.epoch) for halt in line.halts()) == [("1", 1)] + [
        (f"9{number}", 1) for number in range(len(moments))
    ]
    verified = line.andon("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
