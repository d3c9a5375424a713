"""deploy/integrations: the subscriber verifies what Andon signs and nothing else; the page shows a halt as it is."""

import importlib.util
import io
import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.rollout_world import ANN, BOB, ordered

from pipeline.decide.orders import HaltOrder
from pipeline.halt.issue import issue, renew
from pipeline.halt.signing import SigningKey, load_or_create
from pipeline.wire.halts import Evidence, Halt, decode_halt, encode_halt
from pipeline.wire.verdicts import Conditional, Explanation, FleetHeartbeat, StandingHalt, encode_verdict

INTEGRATIONS = Path(__file__).parents[2] / "deploy" / "integrations"
PROGRAM = INTEGRATIONS / "halts.py"
NOW = 1_721_362_239_971
LIFETIME = 86_400_000
FIXED = {"vendor": "crowdstrike", "product": "falcon-content", "version": "291"}


@pytest.fixture(scope="module")
def program() -> Any:
    """The subscriber as a module."""
    spec = importlib.util.spec_from_file_location("halts", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_subscriber_needs_nothing_of_andon() -> None:
    """It is there to be copied: the standard library and `cryptography`."""
    roots = set(re.findall(r"^(?:from|import) (\w+)", PROGRAM.read_text("utf-8"), re.MULTILINE))
    assert roots - sys.stdlib_module_names == {"cryptography"}


def test_the_halt_on_the_page_is_one() -> None:
    """The example has every field of a halt and of its evidence, and decodes."""
    (shown,) = re.findall(
        r"^```json\n(.*?)^```$", (INTEGRATIONS / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    halt = decode_halt(shown.encode())
    fields = json.loads(shown)
    assert fields.keys() == {field.name for field in msgspec.structs.fields(Halt)} - {"orders"}  # a resume's
    assert fields["evidence"].keys() == {field.name for field in msgspec.structs.fields(Evidence)}
    assert halt.expires_at - halt.issued_at == LIFETIME


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


def beat(at: int, *standing: StandingHalt, **other: Any) -> FleetHeartbeat:
    """A heartbeat of the fleet that names what stands halted; not signed."""
    figures = {"stream_time": at, "live_updates": 1, "events": 9, "offset": 3, "standing_total": len(standing)}
    return FleetHeartbeat(fleet="acme", at=at, standing=standing, **figures | other)


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
    """Whatever figures and text a halt holds, the subscriber verifies it, and gives back what was signed."""
    halt = signed(key, reason=HOSTILE, **figures)
    record = program.verified(encode_halt(halt), program.load_keys(public_pem(tmp_path)))
    expected = json.loads(encode_halt(halt))
    del expected["sig"]
    assert record == expected
    assert record["action"] == "halt"


def test_the_program_believes_detectors_alone(program: Any, key: SigningKey, tmp_path: Path) -> None:
    """Of a whole directory of keys: neither an operator's, nor a subscriber's, nor a revoked one."""
    (path,) = public_pem(tmp_path)
    pem = Path(path).read_bytes()
    for role in ("operator", "subscriber", "detector"):
        (tmp_path / role).mkdir()
        (tmp_path / role / f"{role}.ann.{key.kid}.pub.pem").write_bytes(pem)
        found = program.load_keys(map(str, (tmp_path / role).iterdir()))
        assert (key.kid in found) == (role == "detector")
    Path(path).with_name(f"{key.kid}.revoked").touch()
    assert program.load_keys([path]) == {}


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
        with pytest.raises(Exception):  # noqa: B017 - the rule is: any exception means do not believe it
            program.verified(forged, keys)


def test_the_rules_of_a_subscriber(program: Any, key: SigningKey, tmp_path: Path) -> None:
    """Expiry is silence, a renewal is news, a lower epoch is a replay, and only a resume lifts."""
    keys, halts = program.load_keys(public_pem(tmp_path)), program.Halts()

    def take(halt: Halt) -> bool:
        taken: bool = halts.take(program.verified(encode_halt(key.sign(halt)), keys))
        return taken

    def hear(at: int, *standing: StandingHalt) -> None:
        halts.take(program.verified(encode_verdict(key.sign_word(beat(at, *standing))), keys))

    def state(ring: str, now_ms: int, **other: str) -> str:
        said: str = halts.state("acme", *(FIXED | other).values(), ring, now_ms)
        return said

    first = signed(key, rings=("broad", "early"))
    assert take(first)
    hear(NOW)
    assert state("broad", NOW) == "halted"
    assert state("canary", NOW) == state("broad", NOW, version="292") == "clear"
    assert state("broad", NOW + LIFETIME) == "halted; the detector is silent"
    assert take(renew(first, NOW + LIFETIME // 2, LIFETIME))
    assert not take(first)  # the record before its renewal
    assert state("broad", NOW + LIFETIME) == "halted"
    hear(NOW + LIFETIME)
    resumed = decode_halt(encode_halt(first).replace(b'"halt"', b'"resume"').replace(b'"epoch":1', b'"epoch":2'))
    assert take(resumed)
    assert state("broad", NOW + LIFETIME) == "clear"
    assert not take(first)
    assert state("broad", NOW + LIFETIME) == "clear"


KEY = b"acme/crowdstrike/falcon-content/291"
BEAT_KEY = b"acme/-/heartbeat"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (lambda key: [], "unknown: no heartbeat was heard"),
        (lambda key: [spoken(key, beat(NOW))], "clear"),
        (lambda key: [BEAT_KEY + b"\t" + encode_verdict(beat(NOW))], "unknown: no heartbeat was heard"),
        (lambda key: [spoken(key, beat(NOW - 31_000))], "unknown: the newest heartbeat is not of the last 30 seconds"),
        (lambda key: [spoken(key, beat(NOW + 31_000))], "unknown: the newest heartbeat is not of the last 30 seconds"),
        (
            lambda key: [spoken(key, beat(NOW - 31_000)), spoken(key, beat(NOW - 60_000))],
            "unknown: the newest heartbeat is not of the last 30 seconds",
        ),
        (lambda key: [spoken(key, beat(NOW, flags=("stream_time_ahead",)))], "unknown: stream_time_ahead"),
        (lambda key: [KEY + b"\t", spoken(key, beat(NOW))], "unknown: its record was erased"),
        (
            lambda key: [KEY + b'\t{"junk":1}', spoken(key, beat(NOW))],
            "unknown: its newest record is not to be believed (KeyError)",
        ),
        (
            lambda key: [spoken(key, beat(NOW, StandingHalt(KEY.decode(), 1)))],
            "unknown: the heartbeat names a halt whose record is missing",
        ),
        (
            lambda key: [spoken(key, beat(NOW, standing_total=1_001))],
            "unknown: more halts stand than there are records",
        ),
        (lambda key: [b"acme/v/p/2\t" + encode_halt(signed(key)), spoken(key, beat(NOW))], "clear"),
        (lambda key: [KEY + b"\t" + encode_halt(signed(key)), KEY + b"\t"], "halted"),
    ],
)
def test_what_is_not_known_is_never_clear(
    program: Any, key: SigningKey, tmp_path: Path, lines: Callable[[SigningKey], list[bytes]], expected: str
) -> None:
    """A silent, unsigned, old or deaf heartbeat, an erased record or junk in its place, a halt that is named and not
    there: unknown; and a halt once seen stays one."""
    keys, halts = program.load_keys(public_pem(tmp_path)), program.Halts()
    for line in lines(key):
        program.read(line, keys, halts)
    assert halts.state("acme", *FIXED.values(), "broad", NOW) == expected


def spoken(key: SigningKey, record: FleetHeartbeat) -> bytes:
    """A line of the signed heartbeat."""
    return BEAT_KEY + b"\t" + encode_verdict(key.sign_word(record)) + b"\n"


@pytest.mark.service
def test_the_program_reads_a_topic(
    key: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a program: records on standard input, keys as arguments."""
    raw = encode_halt(signed(key))
    feed = b"\n".join([raw, raw.replace(b"halt", b"resume", 1), b"nonsense"])
    monkeypatch.setattr(sys, "argv", [PROGRAM.name, *public_pem(tmp_path)])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(feed)))
    runpy.run_path(str(PROGRAM), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "new halt acme crowdstrike falcon-content 291 ['*']"
    assert [line.startswith("not believed:") for line in lines[1:]] == [True, True]


def test_a_resume_needs_two_operators(program: Any, key: SigningKey, tmp_path: Path) -> None:
    """The program checks the orders: with them the halt is lifted, without or with others it is unknown."""
    keys = program.load_keys(public_pem(tmp_path))
    place = tmp_path / "people"
    for operator in (ANN, BOB):
        operator.is_trusted_in(place)
    people = program.load_operators(list(map(str, place.iterdir())))
    halt = signed(key)
    resume = msgspec.structs.replace(halt, action="resume", epoch=2)
    for record, is_taken in ((ordered(resume), True), (resume, False), (ordered(resume, ANN, ANN), False)):
        halts = program.Halts()
        line = halt.key.encode() + b"\t" + encode_halt(key.sign(record))
        assert ("new resume" in program.read(line, keys, halts, people)) is is_taken
        assert (halts.doubts == {}) is is_taken
    alone = program.read(halt.key.encode() + b"\t" + encode_halt(key.sign(ordered(resume))), keys, program.Halts())
    assert alone.startswith("not believed: ValueError('no key of this operator")
    assert "KEYS/*.pub.pem" in alone
