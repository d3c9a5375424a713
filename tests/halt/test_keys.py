"""`andon keys`: files that nobody else can read or change, several keys at once, and what is wrong is said."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.rollout_world import halt

from pipeline.halt.believe import believed_halt
from pipeline.halt.keys import command
from pipeline.halt.signing import load_or_create, load_private, load_trusted
from pipeline.runtime.errors import AndonError

COLUMNS = 80


def keys(*words: object) -> Result:
    """`andon keys …`; what it raises is raised."""
    return CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)


def listed(place: Path) -> list[dict[str, object]]:
    """The rows of `list --json`."""
    rows: list[dict[str, object]] = json.loads(keys("list", "--dir", place, "--json").stdout)["keys"]
    return rows


@pytest.mark.parametrize("role", ["operator", "subscriber"])
def test_a_new_key_is_a_private_file_and_a_public_half(tmp_path: Path, role: str) -> None:
    """Mode 600, in a directory of its owner alone; two lines say which stays and which is copied; the secret is in
    neither; the public half is believed for its role where it is copied to."""
    made = keys("new", role, "ann", "--dir", tmp_path / "own")
    private, public = (Path(line.split()[1].removesuffix(":")) for line in made.stdout.splitlines())
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    key = load_private(private)
    assert public.name == f"{role}.ann.{key.kid}.pub.pem"
    secret = private.read_text().splitlines()[1]
    assert secret not in made.output
    assert secret not in keys("list", "--dir", tmp_path / "own").output
    (tmp_path / "trust").mkdir(mode=0o700)
    (tmp_path / "trust" / public.name).write_bytes(public.read_bytes())
    found = load_trusted(tmp_path / "trust")[key.kid]
    assert (found.role, found.name) == (role, "ann")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A second `new` for the same name is refused, for the correlator's directory, too, and the files stay."""
    keys("new", "operator", "ann", "--dir", tmp_path / "own")
    own = load_or_create(tmp_path / "correlate")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pem")}
    for words in (["operator", "ann", "--dir", tmp_path / "own"], ["detector", "--dir", tmp_path / "correlate"]):
        with pytest.raises(AndonError, match="rotate"):
            keys("new", *words)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.pem")} == before
    assert load_or_create(tmp_path / "correlate").kid == own.kid


def test_a_detectors_key_may_have_a_name(tmp_path: Path) -> None:
    """The correlator signs with what was made for it, and makes no second public half."""
    keys("new", "detector", "berlin", "--dir", tmp_path)
    key = load_or_create(tmp_path)
    assert [row["name"] for row in listed(tmp_path)] == ["berlin"]
    assert load_trusted(tmp_path).keys() == {key.kid}


@pytest.mark.parametrize("name", ["", "Ann", "a/b", "../x", "a b", "-a", "a" * 65])
def test_a_name_is_one_that_a_file_can_have(tmp_path: Path, name: str) -> None:
    """Others are refused before anything is made."""
    with pytest.raises(AndonError, match="names nobody"):
        keys("new", "operator", "--dir", tmp_path / "own", "--", name)
    assert not (tmp_path / "own").exists()


def test_no_key_is_made_where_others_can_write(tmp_path: Path) -> None:
    """Neither a first nor a next one."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own").chmod(0o777)
    for what in ("new", "rotate"):
        with pytest.raises(AndonError, match="chmod o-w"):
            keys(what, "operator", "ann", "--dir", tmp_path / "own")
    assert list((tmp_path / "own").iterdir()) == []


def test_the_list_shows_what_is_there_and_what_is_wrong(tmp_path: Path) -> None:
    """Every key with role, name, date and state, in 80 columns; beside it each fault, and the exit code says so."""
    long = "a" * 64
    for role, name in (("operator", "ann"), ("operator", long), ("subscriber", "sccm")):
        keys("new", role, name, "--dir", tmp_path)
    load_or_create(tmp_path)
    rows = listed(tmp_path)
    assert [(row["role"], row["name"]) for row in rows] == [
        ("detector", ""), ("operator", long), ("operator", "ann"), ("subscriber", "sccm"),
    ]  # fmt: skip
    sccm = str(rows[3]["kid"])
    keys("revoke", sccm, "--dir", tmp_path)
    shown = keys("list", "--dir", tmp_path)
    assert shown.exit_code == 0
    assert max(map(len, shown.stdout.splitlines())) <= COLUMNS
    assert "signs here" in shown.stdout
    (line,) = [line for line in shown.stdout.splitlines() if sccm in line]
    assert " revoked 20" in line
    (tmp_path / "0123456789abcdef.pub.pem").write_bytes(b"junk")
    (tmp_path / "sccm.revoked").touch()
    (tmp_path / f"operator.ann.{rows[2]['kid']}.key.pem").chmod(0o644)
    tmp_path.chmod(0o777)
    broken = keys("list", "--dir", tmp_path)
    assert broken.exit_code == 1
    problems = [line for line in broken.stdout.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 4
    for words in ("chmod o-w", "not a readable public key", "revokes no key", "chmod 600"):
        assert any(words in line for line in problems), words
    assert listed(tmp_path)[3]["revoked_at"] is not None


def test_an_empty_place_is_said(tmp_path: Path) -> None:
    """No key, and no directory."""
    assert "nothing is believed" in keys("list", "--dir", tmp_path).stdout
    missing = keys("list", "--dir", tmp_path / "none")
    assert (missing.exit_code, "cannot be looked at" in missing.stdout) == (1, True)


def test_both_keys_are_believed_after_a_rotation(tmp_path: Path) -> None:
    """The old one until it is revoked; the owner has both files, and is told of both."""
    keys("new", "subscriber", "sccm", "--dir", tmp_path)
    (old,) = load_trusted(tmp_path)
    said = keys("rotate", "subscriber", "sccm", "--dir", tmp_path).stdout
    assert f"{old} stays believed" in said
    assert len(load_trusted(tmp_path)) == 2
    assert len(list(tmp_path.glob("subscriber.sccm.*.key.pem"))) == 2
    keys("revoke", old, "--dir", tmp_path)
    assert old not in load_trusted(tmp_path)
    assert len(load_trusted(tmp_path)) == 1
    with pytest.raises(AndonError, match="no key of subscriber other"):
        keys("rotate", "subscriber", "other", "--dir", tmp_path)


def test_the_correlators_key_is_exchanged_in_two_steps(tmp_path: Path) -> None:
    """The next one is believed before it signs; then it is in the place of the old one, whose records still hold. The
    correlator makes none of its own meanwhile."""
    old = load_or_create(tmp_path)
    _, key, record = halt(key=old)
    keys("rotate", "detector", "--dir", tmp_path)
    assert load_or_create(tmp_path).kid == old.kid
    assert len(load_trusted(tmp_path)) == 2
    with pytest.raises(AndonError, match="next key already"):
        keys("rotate", "detector", "--dir", tmp_path)
    keys("rotate", "detector", "--dir", tmp_path, "--switch")
    new = load_or_create(tmp_path)
    assert new.kid != old.kid
    assert load_private(tmp_path / f"{old.kid}.key.pem").kid == old.kid
    assert believed_halt(key, record or b"", load_trusted(tmp_path)).kid == old.kid
    with pytest.raises(AndonError, match="without --switch makes it"):
        keys("rotate", "detector", "--dir", tmp_path, "--switch")
    keys("revoke", new.kid, "--dir", tmp_path)
    with pytest.raises(AndonError, match="is revoked"):
        load_or_create(tmp_path)


def test_a_revocation_says_what_it_takes(tmp_path: Path) -> None:
    """First without doing it; then for good; that nobody else can halt is said; a key that is not there is no typing
    error to pass over."""
    own = load_or_create(tmp_path)
    tried = keys("revoke", own.kid, "--dir", tmp_path, "--dry-run").stdout
    assert "would be revoked" in tried
    assert "no other detector's key" in tried
    assert "heartbeats" in tried
    assert own.kid in load_trusted(tmp_path)
    assert "is revoked in" in keys("revoke", own.kid, "--dir", tmp_path).stdout
    assert load_trusted(tmp_path) == {}
    assert "was revoked before" in keys("revoke", own.kid, "--dir", tmp_path).stdout
    with pytest.raises(AndonError, match=f"holds no key '0123': there is {own.kid}"):
        keys("revoke", "0123", "--dir", tmp_path)
