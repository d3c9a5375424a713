"""The combiner's seal: who has the secret knows its partials from all others, who has none reads them anyway."""

from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs
from support.correlate_worker import partial

from pipeline.runtime.errors import ConfigError
from pipeline.runtime.partials import PartialsConfig, seal_of
from pipeline.wire.partials import Notes, Partial, UpdateId, decode_partial, encode_partial
from pipeline.wire.reasons import MalformedMessage
from pipeline.wire.seal import SEAL_BYTES, Seal

OLD, NEW = "o" * 32, "n" * 43
PARTIAL = partial("acme", 7, (UpdateId("v", "p", "1"),))
RAW = encode_partial(PARTIAL)
NOTED = replace(PARTIAL, tail=Notes({"updates_cut": 3}, {"h-1": 7_200_000}))
# PARTIAL as it was written, and sealed with NEW, before partials had notes.
BEFORE_NOTES = bytes.fromhex("9f01a461636d65a174070000cf000001a0c4506c009193a176a170a13190c400c40090c400c40090")
SEALED_BEFORE_NOTES = bytes.fromhex(
    "dc001001a461636d65a174070000cf000001a0c4506c009193a176a170a13190c400c40090c400c40090"
    "c4207b07e83b9af30dad52af967470fba4f182d5739f63e4ea214f1621fed65da5d3"
)


def is_ours(seal: Seal, raw: bytes) -> bool:
    """Whether these bytes are believed."""
    try:
        seal.check(raw)
    except MalformedMessage:
        return False
    return True


@pytest.mark.parametrize("one", [PARTIAL, NOTED], ids=["without notes", "with notes"])
def test_a_sealed_partial_is_the_same_partial(one: Partial) -> None:
    """It is believed, and reads as before to whoever has no secret."""
    raw = encode_partial(one)
    sealed = Seal([NEW]).sealed(raw)
    assert is_ours(Seal([NEW]), sealed)
    assert decode_partial(sealed) == decode_partial(raw) == one
    assert len(raw) < len(sealed) <= len(raw) + SEAL_BYTES


def test_a_partial_without_notes_is_what_it_was() -> None:
    """Byte for byte, sealed or not: readers and writers of both times understand each other."""
    assert (RAW, Seal([NEW]).sealed(RAW)) == (BEFORE_NOTES, SEALED_BEFORE_NOTES)
    assert decode_partial(BEFORE_NOTES) == decode_partial(SEALED_BEFORE_NOTES) == PARTIAL
    assert is_ours(Seal([NEW]), SEALED_BEFORE_NOTES)


def test_notes_are_sealed_too() -> None:
    """Taken away, or added, they break the seal."""
    seal = Seal([NEW])
    with_notes, without = seal.sealed(encode_partial(NOTED)), seal.sealed(RAW)
    mac = without[-34:]
    assert not is_ours(seal, encode_partial(NOTED) + mac)
    assert not is_ours(seal, RAW + with_notes[-34:])
    assert not is_ours(seal, b"\xdc\x00\x11" + encode_partial(NOTED)[3:] + mac)
    assert not is_ours(seal, b"\xdc\x00\x10" + RAW[1:] + with_notes[-34:])


@given(st.integers(0, len(RAW) + SEAL_BYTES - 1), st.integers(1, 255))
def test_a_single_byte_breaks_it(place: int, change: int) -> None:
    """Wherever it is."""
    sealed = bytearray(Seal([NEW]).sealed(RAW))
    sealed[place] ^= change
    assert not is_ours(Seal([NEW]), bytes(sealed))


@given(st.binary(max_size=200))
def test_no_bytes_but_ours_are_believed(raw: bytes) -> None:
    """Nor what is cut short, nor what somebody else has sealed."""
    seal = Seal([NEW])
    assert not is_ours(seal, raw)
    assert not is_ours(seal, Seal([OLD]).sealed(raw))
    assert not is_ours(seal, seal.sealed(RAW)[: len(raw)])


def test_a_secret_is_changed_for_another() -> None:
    """With both, the new one seals and the old one's partials are still believed."""
    both = Seal([NEW, OLD])
    assert is_ours(both, Seal([OLD]).sealed(RAW))
    assert is_ours(Seal([NEW]), both.sealed(RAW))
    assert not is_ours(Seal([OLD]), both.sealed(RAW))


def test_settings(tmp_path: Path) -> None:
    """From a file, several on a line each; one that could be guessed is refused by name; none is said, and works."""
    file, log = tmp_path / "secret", structlog.get_logger()
    file.write_text(f"{NEW}\n{OLD}\n", "utf-8")
    seal = seal_of(PartialsConfig(secret_file=str(file)), log)
    assert seal is not None
    assert is_ours(seal, Seal([OLD]).sealed(RAW))
    for text in ("", "short"):
        file.write_text(text, "utf-8")
        with pytest.raises(ConfigError, match=r"partials\.secret_file = .*32 characters"):
            seal_of(PartialsConfig(secret_file=str(file)), log)
    with pytest.raises(ConfigError, match=r"^partials\.secret: .*32 characters"):
        seal_of(PartialsConfig(secret="short"), log)
    with capture_logs() as said:
        assert seal_of(PartialsConfig(), log) is None
    assert [(entry["log_level"], "not sealed" in entry["event"]) for entry in said] == [("warning", True)]
