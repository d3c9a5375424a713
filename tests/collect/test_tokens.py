"""Tokens: made, stored as hashes in a private file, compared; and configuration that refuses to start."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.collect.main import command as collect
from pipeline.collect.tokens import TokenTable, add_token, command, digest_of, read_tokens
from pipeline.runtime.errors import ConfigError


def test_token_is_stored_as_a_hash_in_a_private_file(tmp_path: Path) -> None:
    """Tokens add up in the file, which only its owner may read and which holds no token."""
    path = tmp_path / "new" / "tokens.toml"
    fleets = ("acme", 'o"dd \\ név', "acme")
    made = {add_token(path, fleet): fleet for fleet in fleets}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_tokens(path) == {digest_of(token): fleet for token, fleet in made.items()}
    assert not any(token in path.read_text("utf-8") for token in made)
    assert [file.name for file in path.parent.iterdir()] == ["tokens.toml"]


def test_comments_of_people_survive(tmp_path: Path) -> None:
    """Adding a token keeps what people wrote into the file."""
    path = tmp_path / "tokens.toml"
    path.write_text("# ours\n[tokens]\n" + "0" * 64 + ' = "old" # Berlin')
    add_token(path, "new")
    assert path.read_text("utf-8").startswith("# ours\n[tokens]\n" + "0" * 64 + ' = "old" # Berlin\n')
    assert set(read_tokens(path).values()) == {"old", "new"}


def test_command_prints_the_token_alone(tmp_path: Path) -> None:
    """`TOKEN=$(andon token acme --tokens-file F)` works in a shell."""
    path = tmp_path / "tokens.toml"
    result = CliRunner().invoke(command, ["acme", "--tokens-file", str(path)])
    sender = TokenTable(path).sender_of(f"Bearer {result.stdout.strip()}")
    assert sender is not None
    assert sender.fleet == "acme"


@pytest.mark.parametrize("fleet", ["", "x" * 129, "a\nb", "\x1b[2J"])
def test_unfit_fleet_is_refused(tmp_path: Path, fleet: str) -> None:
    """A fleet's name is 1 to 128 printable characters."""
    with pytest.raises(ConfigError, match="fleet"):
        add_token(tmp_path / "tokens.toml", fleet)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tokens", "not valid TOML"),
        ("tokens = 1", "must be a table"),
        ('[tokens]\nsecret = "acme"', "64 lower-case hex"),
        (f"[tokens]\n{'0' * 64} = 7", "must be a fleet's name"),
    ],
)
def test_unusable_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """The error says what is wrong, without repeating what might be a token."""
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        TokenTable(path)
    assert "secret" not in str(caught.value)


def test_table_follows_its_file_and_survives_a_broken_one(tmp_path: Path) -> None:
    """Revoking takes a line away; an edit with which it would not start is complained about and changes nothing."""
    path = tmp_path / "tokens.toml"
    token = add_token(path, "acme")
    table = TokenTable(path)
    assert not table.refresh()
    for broken, why in (("[tok", "not valid TOML"), ("", "holds no token"), ("[tokens]\n", "holds no token")):
        path.write_text(broken)
        assert not table.refresh()
        assert why in table.trouble
        assert table.sender_of(f"bearer {token}") == (digest_of(token), "acme")
    path.unlink()
    assert not table.refresh()
    assert "cannot be read" in table.trouble
    other = add_token(path, "acme")
    assert table.refresh()
    assert table.trouble == ""
    assert table.sender_of(f"Bearer {token}") is None
    assert table.sender_of(f"Bearer {other}") is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "tokens_file is not set"),
        (["--tokens-file", "/nonexistent/tokens.toml"], "/nonexistent/tokens.toml"),
        (["--tokens-file", "x", "--port", "70000"], "collect.port = '70000'"),
        (["--tokens-file", "x", "--max-buffered-events", "0"], "collect.max_buffered_events = '0'"),
        (["--tokens-file", "x", "--delivery-timeout-seconds", "soon"], "collect.delivery_timeout_seconds = 'soon'"),
    ],
)
def test_bad_configuration_refuses_to_start(options: list[str], words: str) -> None:
    """Exit with the key, the value and what would be right, before anything is opened."""
    result = CliRunner().invoke(collect, options)
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)
