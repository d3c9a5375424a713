"""What the README tells a stranger to do works as it stands there: program, queries, commands, files."""

import json
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from clickhouse_connect.driver.client import Client

from pipeline.bench.archive_line import LocalClickHouse
from pipeline.cli import BENCHES, andon
from pipeline.decide.orders import HaltOrder
from pipeline.halt.issue import issue, renew
from pipeline.halt.signing import SigningKey, load_or_create
from pipeline.wire.halts import Evidence, Halt, decode_halt, encode_halt
from pipeline.wire.verdicts import Conditional, Explanation

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "docs/design.md", "deploy/README.md", "grafana/README.md")]
README = PAGES[0].read_text("utf-8")
NOW = 1_721_362_239_971
LIFETIME = 86_400_000
FIXED = {"vendor": "crowdstrike", "product": "falcon-content", "version": "291"}


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


PROGRAM = next(text for text in blocks("python") if text.startswith('"""halts.py'))


@pytest.fixture(scope="module")
def program() -> Any:
    """The README's subscriber as a module."""
    module = types.ModuleType("halts")
    exec(compile(PROGRAM, "README.md", "exec"), vars(module))
    return module


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """A signing key, its public half beside it."""
    return load_or_create(tmp_path / "keys")


def public_pem(tmp_path: Path) -> list[str]:
    """The public key as a subscriber gets it."""
    return [str(path) for path in (tmp_path / "keys").glob("*.pub.pem")]


def signed(key: SigningKey, rings: tuple[str, ...] = ("*",), reason: str = "because", **figures: Any) -> Halt:
    """A halt as the correlator makes it."""
    evidence: dict[str, Any] = {
        "log10_evidence": 8.27,
        "threshold": 6.0,
        "basis": "concurrent",
        "observed": 4,
        "expected": 8.59e-05,
        "relative_risk": (831.8, 66590.0),
        "crashed_hosts": 4,
        "exposed_trials": 2,
        "explanation": Explanation(kind="signature", code="0x50", module="csagent.sys"),
        "stream_time": NOW - 3_000,
    }
    order = HaltOrder("enforce", "acme", *FIXED.values(), rings, "6367f8bfea40", reason, Evidence(**evidence | figures))
    halt = issue(order, None, 0, NOW, LIFETIME)
    assert halt is not None
    return key.sign(halt)


HOSTILE = '","sig":"AAAA","action":"resume" \\" \u202e ünï 猫 </script>\x1b[2J'


@pytest.mark.parametrize(
    "figures",
    [
        {},
        {"expected": 1e-7, "relative_risk": (float("inf"), float("nan"))},
        {"expected": 5, "log10_evidence": 1e16, "relative_risk": (1e300, 3.0)},
        {"conditional": (Conditional(HOSTILE, -0.0),), "explanation": Explanation("signature", HOSTILE, HOSTILE)},
    ],
)
def test_the_programs_answer_is_the_signed_record(
    program: Any, key: SigningKey, tmp_path: Path, figures: dict[str, Any]
) -> None:
    """Whatever figures and text a halt holds, the README's code verifies it, and gives back what was signed."""
    halt = signed(key, reason=HOSTILE, **figures)
    record = program.verified(encode_halt(halt), program.load_keys(public_pem(tmp_path)))
    expected = json.loads(encode_halt(halt))
    del expected["sig"]
    assert record == expected
    assert record["action"] == "halt"


def test_the_program_believes_nothing_else(program: Any, key: SigningKey, tmp_path: Path) -> None:
    """A changed byte anywhere, another's signature, a second action, an unknown key, or no JSON: refused."""
    raw = encode_halt(signed(key))
    keys = program.load_keys(public_pem(tmp_path))
    spare = raw.index(b'=="') - 1  # the last digit of base64 has four bits that say nothing
    changed = [raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] for at in range(len(raw)) if at != spare]
    other = encode_halt(signed(load_or_create(tmp_path / "other")))
    doubled = raw.replace(b'{"action":"halt"', b'{"action":"halt","action":"resume"')
    moved = b'{"sig":"' + json.loads(raw)["sig"].encode() + b'",' + raw[1:]
    for forged in [*changed, other, doubled, moved, b"", b"[]", b"{}", b'{"sig":1}', b"\xff", raw[:-1]]:
        with pytest.raises(Exception):  # noqa: B017 - the README says: any exception means do not believe it
            program.verified(forged, keys)


def test_the_rules_of_a_subscriber(program: Any, key: SigningKey, tmp_path: Path) -> None:
    """Expiry is silence, a renewal is news, a lower epoch is a replay, and only a resume lifts."""
    keys, halts = program.load_keys(public_pem(tmp_path)), program.Halts()

    def take(halt: Halt) -> bool:
        taken: bool = halts.take(program.verified(encode_halt(key.sign(halt)), keys))
        return taken

    def state(ring: str, now_ms: int, **other: str) -> str:
        said: str = halts.state("acme", *(FIXED | other).values(), ring, now_ms)
        return said

    first = signed(key, rings=("broad", "early"))
    assert take(first)
    assert state("broad", NOW) == "halted"
    assert state("canary", NOW) == state("broad", NOW, version="292") == "clear"
    assert state("broad", NOW + LIFETIME) == "halted; the detector is silent"
    assert take(renew(first, NOW + LIFETIME // 2, LIFETIME))
    assert not take(first)  # the record before its renewal
    assert state("broad", NOW + LIFETIME) == "halted"
    resumed = decode_halt(encode_halt(first).replace(b'"halt"', b'"resume"').replace(b'"epoch":1', b'"epoch":2'))
    assert take(resumed)
    assert state("broad", NOW) == "clear"
    assert not take(first)
    assert state("broad", NOW) == "clear"


def test_the_program_reads_a_topic(key: SigningKey, tmp_path: Path) -> None:
    """As a program: records on standard input, keys as arguments."""
    path = tmp_path / "halts.py"
    path.write_text(PROGRAM, "utf-8")
    raw = encode_halt(signed(key))
    argv = [sys.executable, str(path), *public_pem(tmp_path)]
    feed = b"\n".join([raw, raw.replace(b"halt", b"resume", 1), b"nonsense"])
    done = subprocess.run(argv, input=feed, stdout=subprocess.PIPE, check=True, timeout=60)
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "new halt acme crowdstrike falcon-content 291 ['*']"
    assert [line.startswith("not believed:") for line in lines[1:]] == [True, True]


def commands() -> list[tuple[str, list[str]]]:
    """Every `andon …` in a shell block or in backticks of the pages, as words."""
    named = []
    for page in PAGES:
        text = page.read_text("utf-8")
        found = re.findall(r"^andon .*$", text, re.MULTILINE) + re.findall(r"`(andon [^`]*)`", text)
        for line in found:
            words = shlex.split(line.partition("    #")[0].partition("  #")[0].partition("…")[0], comments=True)
            named.append((f"{page.name}: {line}", words[1:]))
    return named


@pytest.mark.parametrize(("line", "words"), commands())
def test_commands_exist_with_their_options(line: str, words: list[str]) -> None:
    """Each command and option that the pages name is one of the command line's."""
    command: click.Command = andon
    while isinstance(command, click.Group) and words and not words[0].startswith("-") and words[0].islower():
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, line
        command = found
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("-")} <= known, line


def test_files_that_the_pages_name_exist() -> None:
    """Paths in the pages are paths of the repository; every bench is in the README's table."""
    for page in PAGES:
        for path in re.findall(r"\b(?:tests|pipeline|consumers|deploy|docs)/[\w/.-]*\w", page.read_text("utf-8")):
            assert (ROOT / path).exists(), f"{page.name} names {path}"
    assert set(re.findall(r"^\| `andon bench (\w+)`", README, re.MULTILINE)) == set(BENCHES)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The schema with an event of each kind of interest, a verdict, a halt and a dead letter."""
    with LocalClickHouse(tmp_path_factory.mktemp("readme")) as line:
        client = line.client()
        lists = [f"updates.{part}" for part in ("vendor", "product", "version", "installed_at")]
        with_it = [["crowdstrike"], ["falcon-content"], ["291"], [1_721_300_000]]
        rows = [
            ["acme", host, "crash", 1_721_362_000, "canary", "0x50", "csagent.sys", host, *updates]
            for host, updates in (("h-1", with_it), ("h-2", with_it), ("h-3", [[], [], [], []]))
        ]
        names = ["fleet", "host", "kind", "ts", "ring", "signature_code", "signature_module", "id", *lists]
        client.insert("events", rows, column_names=names)
        update, key = ["acme", *FIXED.values()], ["fleet", *FIXED]
        client.insert("verdicts", [[*update, "canary", "halted"]], column_names=[*key, "ring", "state"])
        halts = [[*update, 1, "halt", ["*"], "because"], ["acme", "a", "b", "c", 2, "resume", ["*"], "fine"]]
        client.insert("halts", halts, column_names=[*key, "epoch", "action", "rings", "reason"])
        client.insert("dead_letters", [["invalid_json", "combine", "{"]], column_names=["reason", "stage", "value"])
        yield client
        client.close()


@pytest.mark.system
@pytest.mark.parametrize("query", blocks("sql"), ids=lambda query: query.split("FROM ")[1].split()[0])
def test_queries_run_and_answer(client: Client, query: str) -> None:
    """Each query of the README runs on the schema as shipped, and finds what is there."""
    rows = client.query(query).result_rows
    assert rows
    if "crash_rate_by_update_ring" in query:
        assert rows == [("291", "canary", 2, 2, 100.0, 34.24, 100.0)]
    if "events_once" in query:
        assert rows == [("0x50", "csagent.sys", 2, 1)]
    if "FROM halts" in query:
        assert [row[:6] for row in rows] == [(*FIXED.values(), "halt", ["*"], "because")]
