"""From order to halt: epochs, coverage, renewal, signatures."""

import math
import os
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decide.orders import HaltOrder
from pipeline.halt.errors import BadSignature, UnknownKey
from pipeline.halt.issue import issue, renew, renewal_due
from pipeline.halt.register import HaltRegister
from pipeline.halt.signing import load_or_create, load_trusted, verify
from pipeline.runtime.errors import ConfigError
from pipeline.wire.halts import Evidence, Halt, canonical_bytes, decode_halt, encode_halt
from pipeline.wire.record_keys import MAX_EPOCH
from pipeline.wire.verdicts import Conditional, Explanation

NOW = 1_790_000_000_000
LIFETIME = 86_400_000

text = st.text(max_size=20)
figures = st.floats()
evidences = st.builds(
    Evidence,
    log10_evidence=figures,
    threshold=figures,
    basis=st.sampled_from(["concurrent", "historical"]),
    observed=st.integers(0, 10**6),
    expected=figures,
    relative_risk=st.tuples(figures, figures),
    crashed_hosts=st.integers(0, 10**6),
    exposed_trials=st.integers(0, 10**9),
    explanation=st.builds(Explanation, kind=st.just("signature"), code=text, module=text, strata=st.tuples(text)),
    conditional=st.lists(st.builds(Conditional, on_without=text, log10_evidence=figures), max_size=2).map(tuple),
    stream_time=st.integers(0, NOW),
)
rings = st.lists(st.sampled_from(["canary", "early", "broad", "*"]), min_size=1, max_size=3, unique=True).map(tuple)
orders = st.builds(
    HaltOrder,
    mode=st.just("enforce"),
    fleet=text,
    vendor=text,
    product=text,
    version=text,
    rings=rings,
    policy=text,
    reason=text,
    evidence=evidences,
)


def order_for(rings: tuple[str, ...] = ("canary",), reason: str = "because", stream_time: int = NOW) -> HaltOrder:
    """A plain order."""
    evidence = Evidence(
        log10_evidence=7,
        threshold=6,
        basis="concurrent",
        observed=9,
        expected=0.5,
        relative_risk=(3, math.inf),
        crashed_hosts=9,
        exposed_trials=100,
        explanation=Explanation("pooled"),
        stream_time=stream_time,
    )
    return HaltOrder("enforce", "acme", "v", "p", "1", rings, "digest", reason, evidence)


def issued(order: HaltOrder, newest: Halt | None = None, floor: int = 0, now: int = NOW) -> Halt:
    """The halt, which must come."""
    halt = issue(order, newest, floor, now, LIFETIME)
    assert halt is not None
    return halt


@given(order=orders, floor=st.integers(0, 2**40))
def test_signed_halts_survive_the_wire(tmp_path_factory: pytest.TempPathFactory, order: HaltOrder, floor: int) -> None:
    """Whatever the figures and texts, the record read back verifies, and its canonical bytes are what was signed."""
    key_dir = tmp_path_factory.getbasetemp() / "keys"
    key = load_or_create(key_dir)
    halt = key.sign(issued(order, None, floor))
    read = decode_halt(encode_halt(halt))
    assert canonical_bytes(read) == canonical_bytes(halt)
    assert encode_halt(read) == encode_halt(halt)
    verify(read, load_trusted(key_dir))


@given(steps=st.lists(st.tuples(rings, st.booleans(), st.integers(-5, 5)), max_size=12))
def test_epochs_never_go_back(steps: list[tuple[tuple[str, ...], bool, int]]) -> None:
    """Whatever is ordered, forgotten or jumped over, every new halt of a key has a higher epoch than any before."""
    newest, floor, last = None, 0, 0
    for wanted, forget, jump in steps:
        floor = max(0, floor + jump) if jump > 0 else floor
        halt = issue(order_for(wanted), None if forget else newest, floor, NOW, LIFETIME)
        if halt is not None:
            assert halt.epoch > last
            assert halt.epoch > floor
            newest, floor, last = halt, halt.epoch, halt.epoch


def test_what_stands_is_not_said_again() -> None:
    """An order within the rings of the newest halt gives nothing, even when that halt has expired."""
    halt = issued(order_for(("broad", "canary")))
    assert issue(order_for(("canary",)), halt, halt.epoch, NOW, LIFETIME) is None
    assert issue(order_for(("canary",)), halt, halt.epoch, NOW + 9 * LIFETIME, LIFETIME) is None
    everywhere = issued(order_for(("*",)))
    assert issue(order_for(("canary",)), everywhere, everywhere.epoch, NOW, LIFETIME) is None


def test_a_wider_order_is_a_new_epoch_with_all_rings() -> None:
    """The new record is the key's complete state: it names the old rings too."""
    halt = issued(order_for(("canary",)))
    wider = issued(order_for(("broad",)), halt, halt.epoch)
    assert (wider.rings, wider.epoch) == (("broad", "canary"), halt.epoch + 1)
    assert issued(order_for(("*",)), wider).rings == ("*",)


def test_a_resume_answers_the_evidence_before_it() -> None:
    """Replayed evidence does not overrule the operators' resume; later evidence does, and so does its expiry."""
    resume = msgspec.structs.replace(issued(order_for()), action="resume", epoch=5, decided_by="operator:ann")
    assert issue(order_for(stream_time=NOW - 1), resume, 5, NOW, LIFETIME) is None
    again = issued(order_for(stream_time=NOW + 1), resume, 5)
    assert (again.epoch, again.rings) == (6, ("canary",))
    assert issued(order_for(stream_time=NOW - 1), resume, 5, NOW + LIFETIME).epoch == 6


@given(
    now=st.integers(NOW - LIFETIME, NOW + 3 * LIFETIME),
)
def test_renewals_keep_the_epoch(now: int) -> None:
    """A renewal is due from half life on, keeps all but its times and signature, and times never go back."""
    halt = issued(order_for())
    assert renewal_due(halt, now, LIFETIME) == (now >= NOW + LIFETIME // 2)
    renewed = renew(halt, now, LIFETIME)
    assert renewed.issued_at >= halt.issued_at
    assert renewed.expires_at >= max(halt.expires_at, now + LIFETIME)
    assert msgspec.structs.replace(renewed, issued_at=halt.issued_at, expires_at=halt.expires_at) == halt


def test_hostile_text_is_escaped_in_the_reason() -> None:
    """Terminal escapes that came from endpoints do not reach whoever prints the reason."""
    halt = issued(order_for(reason="bad \x1b[31mred\x07\n" + "x" * 5000))
    assert halt.reason.isprintable()
    assert len(halt.reason) <= 1000


FIELDS = [field for field in msgspec.structs.fields(Halt) if field.name not in ("sig", "kid", "v", "evidence")]


@pytest.mark.parametrize("field", [field.name for field in FIELDS] + ["log10_evidence", "explanation"])
def test_tampering_is_seen(tmp_path: Path, field: str) -> None:
    """Changing any field, evidence included, breaks verification."""
    key = load_or_create(tmp_path)
    halt = key.sign(issued(order_for()))
    fields = msgspec.to_builtins(halt)
    holder = fields if field in fields else fields["evidence"]
    changes = {"action": "resume", "rings": ["*"], "orders": ["{}"], "explanation": {"kind": "history"}}
    value = holder[field]
    holder[field] = changes.get(field, value + 1 if isinstance(value, int | float) else f"{value}x")
    with pytest.raises(BadSignature):
        verify(msgspec.convert(fields, Halt), load_trusted(tmp_path))


@settings(max_examples=50)
@given(sig=st.text(max_size=120))
def test_any_other_signature_is_refused(tmp_path_factory: pytest.TempPathFactory, sig: str) -> None:
    """Garbage in the signature's place raises BadSignature and nothing else."""
    key_dir = tmp_path_factory.getbasetemp() / "keys"
    halt = load_or_create(key_dir).sign(issued(order_for()))
    with pytest.raises(BadSignature):
        verify(msgspec.structs.replace(halt, sig=sig), load_trusted(key_dir))


def test_a_strangers_key_is_unknown(tmp_path: Path) -> None:
    """A valid signature of a key that is not trusted proves nothing."""
    halt = load_or_create(tmp_path / "stranger").sign(issued(order_for()))
    load_or_create(tmp_path / "own")
    with pytest.raises(UnknownKey):
        verify(halt, load_trusted(tmp_path / "own"))


def test_key_files(tmp_path: Path) -> None:
    """The private key is for its owner only, stays the same, and a key that others can read is refused."""
    key = load_or_create(tmp_path)
    private = tmp_path / "signing.key.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert (tmp_path / f"{key.kid}.pub.pem").exists()
    assert load_or_create(tmp_path).kid == key.kid
    assert key.kid in repr(key)
    private.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_or_create(tmp_path)


def test_a_replaced_key_leaves_its_public_half_trusted(tmp_path: Path) -> None:
    """Halts that the old key signed are still believed after a new key was made."""
    old = load_or_create(tmp_path)
    halt = old.sign(issued(order_for()))
    os.unlink(tmp_path / "signing.key.pem")
    assert load_or_create(tmp_path).kid != old.kid
    verify(halt, load_trusted(tmp_path))


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----"]
)
def test_a_broken_key_file_is_a_configuration_error(tmp_path: Path, content: bytes) -> None:
    """A damaged key names the file instead of a stack trace."""
    path = tmp_path / "signing.key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"signing\.key\.pem"):
        load_or_create(tmp_path)


def test_register_believes_only_trusted_records(tmp_path: Path) -> None:
    """A forged record halts nothing, but its epoch is passed, and a forged last epoch is ignored."""
    own, stranger = load_or_create(tmp_path / "own"), load_or_create(tmp_path / "stranger")
    register = HaltRegister(load_trusted(tmp_path / "own"))
    forged = stranger.sign(msgspec.structs.replace(issued(order_for(("*",))), epoch=41))
    assert register.learn(forged) == "unknown_key"
    assert register.newest(forged.key) is None
    assert register.floor(forged.key) == 41
    register.learn(stranger.sign(msgspec.structs.replace(forged, epoch=MAX_EPOCH)))
    halt = own.sign(issued(order_for(), register.newest(forged.key), register.floor(forged.key)))
    assert halt.epoch == 42
    assert register.learn(halt) == ""
    assert register.newest(halt.key) == halt
    register.learn(own.sign(msgspec.structs.replace(halt, epoch=3)))
    assert register.newest(halt.key) == halt


def test_register_finds_what_is_due(tmp_path: Path) -> None:
    """A halt is due for renewal at half of its life, not before."""
    key = load_or_create(tmp_path)
    register = HaltRegister(load_trusted(tmp_path))
    halt = key.sign(issued(order_for()))
    register.put(halt)
    assert list(register.renewals(NOW, LIFETIME)) == []
    assert list(register.renewals(NOW + LIFETIME, LIFETIME)) == [halt]
