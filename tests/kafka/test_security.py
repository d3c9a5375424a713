"""The whole line on an Apache Kafka with SASL/SCRAM and the least of ACLs, and on one with TLS; the doctor on both."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from support.clickhouse import value as clickhouse_value
from support.engines import Database
from support.outside import incident
from support.secured import alive, grant, options, stage, start
from support.waiting import DEADLINE_SECONDS, until

from consumers.rollout import Halts, Order, Source, Subscriber
from consumers.rollout.main import command as gate_command
from pipeline.access.main import command as topics_command
from pipeline.access.roles import Grant, read_roles, rights_of
from pipeline.collect.tokens import add_token
from pipeline.doctor import main as doctor
from pipeline.doctor.finding import Finding, ok
from pipeline.doctor.rights import ask, permission_finding
from pipeline.halt import keyring
from pipeline.halt.signing import load_or_create, load_private, load_trusted
from pipeline.local.kafka.cluster import KafkaCluster
from pipeline.local.machine.ports import free_port
from pipeline.local.machine.process import Process
from pipeline.runtime import topic_admin
from pipeline.runtime.errors import AndonError
from pipeline.runtime.kafka import KafkaConfig, client_config, consumer_config, producer_config
from pipeline.runtime.topic_admin import TopicAdmin
from pipeline.wire import topics
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.reasons import Reason

Account = Callable[[str], KafkaConfig]
ACLS = Path(__file__).parents[2] / "deploy" / "acls.toml"
ROLES = read_roles(ACLS)


@pytest.fixture(scope="module")
def accounts(sasl_kafka: KafkaCluster) -> dict[str, KafkaConfig]:
    """Every account of deploy/acls.toml, with the rights that stand there and no others."""
    names = sorted({user for role in ROLES.values() for user in role.users})
    made = {name: sasl_kafka.security.add_user(sasl_kafka.bootstrap_servers, name) for name in names}
    assert apply_topics(sasl_kafka.client_options(), "--acls", str(ACLS)) == 0
    assert apply_topics(made["andon-topics"]) == 0
    for group in ("andon-combine", "andon-archive", "andon-correlate"):  # as if their stages had been there
        member = Consumer(consumer_config(sasl_kafka.client_options(), "test", group, "test"))
        member.commit(offsets=[TopicPartition(topics.EVENTS.name, 0, 0)], asynchronous=False)
        member.close()
    return made


@pytest.fixture(scope="module", params=["sasl_kafka", "tls_kafka"])
def account(request: pytest.FixtureRequest) -> Account:
    """How a stage, by its name, reaches the cluster."""
    if request.param == "sasl_kafka":
        made: dict[str, KafkaConfig] = request.getfixturevalue("accounts")
        return made.__getitem__
    cluster: KafkaCluster = request.getfixturevalue("tls_kafka")
    assert apply_topics(cluster.client_options()) == 0
    return lambda name: cluster.client_options()


def apply_topics(kafka: KafkaConfig, *words: str) -> int:
    """`andon topics apply` under an account; the exit code."""
    environ = {"ANDON_KAFKA_SASL_PASSWORD": kafka.sasl_password}
    return CliRunner().invoke(topics_command, ["apply", *options(kafka), *words], env=environ).exit_code


def consult(kafka: KafkaConfig, directory: Path, *more: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """What `andon doctor` finds under an account: exit code, finding by check."""
    environ = {"ANDON_KAFKA_SASL_PASSWORD": kafka.sasl_password}
    words = ["--json", "--data-dir", str(directory), *options(kafka), *more]
    result = CliRunner().invoke(doctor.command, words, env=environ)
    return result.exit_code, {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}


def post(port: int, token: str, lines: list[bytes]) -> Any:
    """Events to the gateway; its answer."""
    headers = {"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/events", b"\n".join(lines), headers)
    with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as answer:
        return json.load(answer)


def gate(kafka: KafkaConfig, update: str, *words: str) -> tuple[int, dict[str, Any]]:
    """What `andon gate` answers under an account: exit code and row."""
    environ = {"ANDON_KAFKA_SASL_PASSWORD": kafka.sasl_password}
    result = CliRunner().invoke(gate_command, [update, "--json", *options(kafka), *words], env=environ)
    return result.exit_code, json.loads(result.stdout)


def answers(url: str) -> bool:
    """Whether a page is there and well."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def line(account: Account, directory: Path, database: Database) -> Iterator[tuple[int, str]]:
    """Gateway, combiner, correlator and archive, each under its own account; the gateway's port and a token."""
    tokens = directory / "tokens.toml"
    token = add_token(tokens, "acme")
    gateway, view = free_port(), free_port()
    where = ["--host", "127.0.0.1", "--port", str(gateway), "--tokens-file", str(tokens)]
    own = ["--data-dir", str(directory / "correlate"), "--web-port", str(view)]
    store = ["--clickhouse-url", database.server.url, "--database", database.name]
    password = {"ANDON_CLICKHOUSE_PASSWORD": database.server.password}
    with contextlib.ExitStack() as running:

        def run(name: str, *words: str, **environ: str) -> Process:
            kafka = account(f"andon-{name}")
            return running.enter_context(stage(kafka, directory / f"{name}.log", name, *words, **environ))

        combine, archive = run("combine"), run("archive", *store, **password)
        correlate, collect = run("correlate", *own), run("collect", *where)
        for process, url in ((correlate, f":{view}/health"), (collect, f":{gateway}/health")):
            until(url, lambda p=process, u=url: alive(p) and answers("http://127.0.0.1" + u))  # type: ignore[misc]
        yield gateway, token
        assert alive(combine)
        assert alive(archive)


def test_the_line_halts_what_crashes(account: Account, database: Database, tmp_path: Path) -> None:
    """Events in at the gateway; a halt for the guilty update alone, which a rollout system obeys and acknowledges once;
    all in ClickHouse."""
    client = database.client()
    with line(account, tmp_path, database) as (port, token):
        sent = incident("acme", "guilty", "innocent")
        assert post(port, token, sent)["accepted"] == len(sent)
        trusted = tmp_path / "correlate" / "keys"
        made = keyring.make("subscriber", "deployer", tmp_path / "own")
        shutil.copy(made.public, trusted)
        source = Source(account("rollout"), load_trusted(trusted), ["acme"])
        handed: list[Order] = []
        with Halts(source, Subscriber("deployer", load_private(made.private))).start(handed.append) as halts:
            until("the halt is handed over", lambda: handed and halts.settle(0.1))
        assert [order.vendor for order in handed] == ["guilty"]
        with Halts(source, Subscriber("deployer", load_private(made.private))).start(handed.append) as halts:
            assert halts.settle(DEADLINE_SECONDS)
            assert halts.why_not() == []
        assert len(handed) == 1, "it does not know what it has acknowledged before"
        asked = gate(
            account("rollout"), handed[0].key.partition("/")[2], "--trusted-keys-dir", str(trusted), "--fleet", "acme",
            "--ring", "broad",
        )  # fmt: skip
        assert (asked[0], asked[1]["rule"], asked[1]["halt"]["epoch"]) == (1, "halted", 1)
        until("all is stored", lambda: clickhouse_value(client, "SELECT count() FROM events") == len(sent))
        said = "SELECT count() FROM halt_acks WHERE subscriber = 'deployer' AND status = 'confirmed'"
        until("the acknowledgement is, too", lambda: clickhouse_value(client, said) == 1)


def test_people_get_by_with_their_accounts(account: Account, tmp_path: Path) -> None:
    """A replay that obeys halts, a look at the line, a look at a refused message, and that message sent again."""
    load_or_create(tmp_path / "keys")
    words = ["quiet-week", "--speed", "max", "--hosts", "100", "--obey", str(tmp_path / "keys")]
    assert "events" in andon(account("andon-replay"), "replay", *words)
    fresh = uuid.uuid4().hex
    written: list[Message] = []
    sender = Producer(producer_config(account("andon-collect"), "test"))
    sender.produce(topics.EVENTS.name, b"x", partition=0, on_delivery=lambda _, message: written.append(message))
    assert sender.flush(DEADLINE_SECONDS) == 0
    offset = written[0].offset() or 0
    letter = DeadLetter(b"x", None, Reason.INVALID_JSON, fresh, topics.EVENTS.name, 0, offset, "combine")
    producer = Producer(producer_config(account("andon-combine"), "test"))
    producer.produce(topics.DEADLETTER.name, letter.value, letter.key, headers=[*letter.headers()])
    assert producer.flush(DEADLINE_SECONDS) == 0
    shown = json.loads(andon(account("andon-watch"), "status", "--json", "--once"))
    assert topics.EVENTS.name in shown["topics_per_second"]
    assert shown["problems"] == []
    mine = letter_of(account("andon-watch"), fresh)
    assert not mine["retried"]
    andon(account("andon-deadletter"), "deadletter", "retry", mine["place"])
    assert letter_of(account("andon-watch"), fresh)["retried"]


def letter_of(kafka: KafkaConfig, detail: str) -> dict[str, Any]:
    """The one dead letter with this detail, as it is listed."""
    listed = [json.loads(line) for line in andon(kafka, "deadletter", "list", "--json").splitlines()]
    (found,) = [one for one in listed if one["detail"] == detail]
    return dict(found)


def andon(kafka: KafkaConfig, *words: str) -> str:
    """What a command prints under an account; it succeeds."""
    environ = os.environ | {"ANDON_KAFKA_SASL_PASSWORD": kafka.sasl_password}
    argv = [sys.executable, "-m", "pipeline", *words, *options(kafka)]
    done = subprocess.run(argv, capture_output=True, text=True, env=environ, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_doctor_is_content(account: Account, tmp_path: Path) -> None:
    """A cluster that is set up right is all well, by whom it was asked included."""
    code, found = consult(account("andon-topics"), tmp_path, "--as", "topics")
    said = found["kafka login"]["words"]
    assert said.startswith(("accepted as andon-topics (SCRAM-SHA-512)", "accepted by certificate"))
    found.pop("kafka groups")  # stages of other tests have stopped
    levels = {finding["level"] for finding in found.values()}
    assert (code, levels) == (0, {"ok", "not checked", "not configured"}), found
    assert found["kafka topics"]["level"] == found["kafka permissions"]["level"] == "ok"


def test_doctor_tells_a_wrong_password(sasl_kafka: KafkaCluster, accounts: Any, tmp_path: Path) -> None:
    """Said as what it is, with what to look at; the password itself is not."""
    wrong = KafkaConfig(
        bootstrap_servers=sasl_kafka.bootstrap_servers,
        security_protocol="SASL_PLAINTEXT",
        sasl_username="andon-combine",
        sasl_password="not-the-password",
    )
    code, found = consult(wrong, tmp_path)
    assert code == 1
    assert found["kafka login"]["level"] == "problem"
    assert found["kafka login"]["words"].startswith("the credentials are refused")
    assert "ANDON_KAFKA_SASL_PASSWORD" in found["kafka login"]["advice"]
    assert "not-the-password" not in json.dumps(found)


def permissions(kafka: KafkaConfig, stage: str | None) -> Finding:
    """What the doctor says of an account's rights."""
    return permission_finding(ask(kafka, AdminClient(client_config(kafka, "test"))), stage)


def test_doctor_judges_an_account_by_what_it_is_for(accounts: dict[str, KafkaConfig], tmp_path: Path) -> None:
    """The archive's is well as the archive's; asked in general, it is told what it may run and what others lack."""
    code, found = consult(accounts["andon-archive"], tmp_path, "--as", "archive")
    assert (code, found["kafka permissions"]["level"]) == (0, "ok"), found
    found.pop("kafka groups")  # stages of other tests have stopped
    assert {finding["level"] for finding in found.values()} == {"ok", "not checked", "not configured"}, found
    any_stage = permissions(accounts["andon-archive"], None)
    assert any_stage.level == "warning"
    assert "may run archive, and no other" in any_stage.words
    assert "collect lacks WRITE fleet.events, WRITE fleet.deadletter;" in any_stage.words
    other = permissions(accounts["andon-archive"], "collect")
    assert other.level == "problem"
    assert "may not run it: collect lacks WRITE fleet.events, WRITE fleet.deadletter" in other.words
    assert "andon topics apply --acls" in other.advice


@pytest.mark.parametrize(
    ("left_out", "word"),
    [("transactional id", "WRITE transactional id andon-combine-0"), ("group", "READ group andon-combine")],
)
def test_doctor_tells_a_combiner_that_could_not_start(
    sasl_kafka: KafkaCluster, accounts: dict[str, KafkaConfig], left_out: str, word: str
) -> None:
    """With every right on topics, but none on its transactional id or its group."""
    lame = sasl_kafka.security.add_user(sasl_kafka.bootstrap_servers, f"combine-{left_out.replace(' ', '-')}")
    rights = [right for right in rights_of(ROLES["combine"]) if right.kind != left_out]
    grant(sasl_kafka.client_options(), (Grant(lame.sasl_username, right) for right in rights))
    assert permissions(accounts["andon-combine"], "combine") == ok("kafka permissions", "this account may run combine")
    assert permissions(lame, "combine").words == f"this account may not run it: combine lacks {word}"


def test_doctor_tells_an_account_without_rights(sasl_kafka: KafkaCluster, accounts: Any, tmp_path: Path) -> None:
    """An account that may see nothing is not told that the topics were missing."""
    code, found = consult(sasl_kafka.security.add_user(sasl_kafka.bootstrap_servers, "nobody"), tmp_path)
    assert (code, found["kafka permissions"]["level"]) == (1, "problem")
    assert "may not run any stage" in found["kafka permissions"]["words"]
    assert "missing" not in found["kafka topics"]["words"]
    assert "DESCRIBE_CONFIGS" in found["kafka topics"]["words"]


def test_doctor_tells_security_that_does_not_match(
    sasl_kafka: KafkaCluster, tls_kafka: KafkaCluster, tmp_path: Path
) -> None:
    """Without credentials where they are wanted, without TLS where it is spoken: each in its own words."""
    code, found = consult(KafkaConfig(bootstrap_servers=sasl_kafka.bootstrap_servers), tmp_path)
    assert (code, "it may require credentials" in found["kafka login"]["advice"]) == (1, True)
    code, found = consult(KafkaConfig(bootstrap_servers=tls_kafka.bootstrap_servers), tmp_path)
    assert code == 1
    assert any("the port speaks TLS" in finding["words"] for finding in found.values())


def test_a_stage_with_a_wrong_password_says_so(sasl_kafka: KafkaCluster, tmp_path: Path) -> None:
    """It ends, asks to be started again, and its log says why, without the password: by either client."""
    options = {"combine": (), "correlate": ("--data-dir", str(tmp_path / "data"), "--web-port", str(free_port()))}
    with contextlib.ExitStack() as both:  # at the same time: each tries for long
        ending = {}
        for name, more in options.items():
            wrong = KafkaConfig(
                bootstrap_servers=sasl_kafka.bootstrap_servers,
                security_protocol="SASL_PLAINTEXT",
                sasl_username=f"andon-{name}",
                sasl_password="not-the-password",
            )
            ending[name] = both.enter_context(start(wrong, tmp_path / name, name, *more))
        assert {name: process.wait(DEADLINE_SECONDS) for name, process in ending.items()} == dict.fromkeys(options, 70)
    for name in options:
        said = (tmp_path / name).read_text("utf-8")
        assert "uthenti" in said
        assert "not-the-password" not in said
        assert "Traceback" not in said


def test_a_tool_with_a_wrong_password_says_so(sasl_kafka: KafkaCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is silent, so the sentence has to name the reason."""
    monkeypatch.setattr(topic_admin, "ANSWER_SECONDS", 3.0)  # nothing comes of waiting longer
    wrong = KafkaConfig(
        bootstrap_servers=sasl_kafka.bootstrap_servers,
        security_protocol="SASL_PLAINTEXT",
        sasl_username="andon-watch",
        sasl_password="not-the-password",
    )
    with pytest.raises(AndonError, match=r"no Kafka broker answers .*[Aa]uthenticat"):
        TopicAdmin(wrong).find([topics.EVENTS.name])
