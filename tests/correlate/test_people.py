"""Operators' commands from the command line to the topics and back, past a correlator that is killed."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from correlate.test_system import Stage
from support.brokers import AnyBroker
from support.correlate_worker import ACCOUNT, partial
from support.outside import ANDON
from support.rollout_world import Operator
from support.secured import options
from support.waiting import DEADLINE_SECONDS

from pipeline.runtime.kafka import KafkaConfig
from pipeline.wire import topics
from pipeline.wire.partials import UpdateId

pytestmark = pytest.mark.service
UPDATE = UpdateId("v", "p", "1")


@pytest.fixture
def line(embedded: AnyBroker, tmp_path: Path) -> Iterator["Line"]:
    """A correlator with a halt, and two operators."""
    running = Line(
        KafkaConfig(bootstrap_servers=embedded.bootstrap_servers, topic_prefix=f"{tmp_path.name}."), tmp_path
    )
    yield running
    running.kill()


class Line(Stage):
    """With operators' key files, and `andon` under their names."""

    def __init__(
        self, kafka: KafkaConfig, directory: Path, worker: KafkaConfig | None = None, account: KafkaConfig | None = None
    ) -> None:
        super().__init__(kafka, directory)
        self.account = account or kafka  # of the operators
        if worker is not None:
            self.environ[ACCOUNT] = json.dumps(msgspec.structs.asdict(worker))
        self.keys = directory / "data" / "keys"
        self.start()
        self.wait_for(self.ready)
        self.operators = {name: Operator(name, self.keys) for name in ("ann", "bob")}
        for operator in self.operators.values():
            operator.write_private(directory / f"{operator.name}.pem")
        self.produce(partial("acme", 120, (UPDATE,)))
        self.wait_for(lambda: len(self.halts()) == 1)

    def andon(self, *words: str, account: KafkaConfig | None = None) -> subprocess.CompletedProcess[str]:
        """Run to its end."""
        who = account or self.account
        argv = [ANDON, *words, *options(who), "--trusted-keys-dir", str(self.keys)]
        environment = os.environ | {"COLUMNS": "80", "ANDON_KAFKA_SASL_PASSWORD": who.sasl_password}
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=2 * DEADLINE_SECONDS, env=environment, check=False
        )

    def order(self, who: str, *words: str, account: KafkaConfig | None = None) -> subprocess.CompletedProcess[str]:
        """An operator's command."""
        key = str(self.directory / f"{who}.pem")
        return self.andon("halts", *words, "--fleet", "acme", "--key", key, account=account)


def test_two_operators_lift_a_halt(line: Line) -> None:
    """A mistaken proposal is seen by all, and withdrawn; of another one an approval of one's own is refused, another's
    lifts the halt, past a kill; and the audit is whole."""
    mistake = line.order("ann", "resume", "acme/v/p/1", "--reason", "wrong", "--for", "2h", "--json")
    wrong = json.loads(json.loads(mistake.stdout)["command"])["id"]
    for words in (("list",), ("why", "v/p/1"), ("show", "acme/v/p/1")):
        assert f"approve {wrong}" in " ".join(line.andon("halts", *words).stdout.split()), words
    assert f"approve {wrong}" in line.andon("status", "--once").stdout
    withdrawn = line.order("bob", "withdraw", wrong, "--reason", "the wrong version")
    assert (withdrawn.returncode, f"withdrawn: {wrong} of ann" in withdrawn.stdout) == (0, True), withdrawn.stderr
    gone = line.order("bob", "approve", wrong, "--yes")
    assert (gone.returncode, "no such proposal is open" in " ".join(gone.stdout.split())) == (5, True)
    assert wrong not in line.andon("halts", "list").stdout
    proposed = line.order("ann", "resume", "v/p/1", "--reason", "a false \x1b[31malarm", "--for", "1h", "--json")
    assert proposed.returncode == 0, proposed.stderr
    id = json.loads(json.loads(proposed.stdout)["command"])["id"]
    own = line.order("ann", "approve", id, "--yes")
    assert own.returncode == 5, own.stderr
    assert "another operator can" in own.stdout
    line.kill()
    line.start()
    approved = line.order("bob", "approve", id, "--yes")
    assert approved.returncode == 0, approved.stderr + approved.stdout
    shown = approved.stderr + approved.stdout
    assert "\x1b" not in shown
    assert "proposed by ann" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
    halts = line.halts()
    assert [(halt.action, halt.epoch) for halt in halts] == [("halt", 1), ("resume", 2)]
    assert halts[1].decided_by == "operator:ann, operator:bob"
    forced = line.order("bob", "force", "v/p/1", "--reason", "no, it is bad", "--json")
    assert forced.returncode == 0, forced.stderr
    assert [halt.action for halt in line.halts()] == ["halt", "resume", "halt"]
    verified = line.andon("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "acme: whole in Kafka: 8 entries" in verified.stdout
    judged = line.andon("backtest", "--from-kafka", "--json")
    assert judged.returncode == 0, judged.stdout + judged.stderr
    rows = [json.loads(row) for row in judged.stdout.splitlines()]
    held = json.loads(forced.stdout)["partials"]["offset"]
    assert [(row["type"], row.get("effect") or row.get("what"), row.get("offset")) for row in rows] == [
        ("ruling", "resumed", held),
        ("ruling", "forced", held),
        ("summary", None, None),
        ("difference", "missing", None),  # the line's detector counts, and halts what this one does not
    ]
    assert rows[2]["rulings"] == 2


def test_without_a_correlator_nobody_answers(line: Line) -> None:
    """In time, with the exit code that says so; a key that is no operator's is not even asked."""
    line.kill()
    silent = line.order("bob", "force", "v/p/2", "--reason", "no", "--answer-within", "2s")
    assert (silent.returncode, "holds for an hour" in silent.stdout) == (6, True)
    stranger = Operator("mallory")
    stranger.write_private(line.directory / "mallory.pem")
    refused = line.order("mallory", "force", "v/p/2", "--reason", "no")
    assert refused.returncode == 2
    assert "not in the directory of trust" in refused.stderr
    assert line.records(topics.COMMANDS.name)
