"""Configuration: which of several places holds, and what is said about a mistake in one of them."""

from pathlib import Path

import pytest

from consumers.clickhouse.connect import ClickHouseServer, password
from pipeline.runtime.config import load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its configuration."""
    return tmp_path / "andon.toml"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file that holds a password."""
    path = tmp_path / "password"
    path.write_text("of the file\n", "utf-8")
    return path


def archive(file: Path | None, environ: dict[str, str], **options: str) -> ClickHouseServer:
    """The section `archive` of these."""
    return load(ClickHouseServer, "archive", file=file, environ=environ, options=options)


def test_the_higher_level_says_where_a_secret_is(file: Path, secret_file: Path) -> None:
    """`--…-password-file` beats a password in the environment, and either there beats the configuration file."""
    file.write_text(f'[archive]\nclickhouse_password_file = "{secret_file}"', "utf-8")
    named, given = {"clickhouse_password_file": str(secret_file)}, {"ANDON_ARCHIVE_CLICKHOUSE_PASSWORD": "given"}
    assert password(archive(None, given)) == "given"
    assert password(archive(None, given, **named)) == "of the file"
    assert password(archive(file, {})) == "of the file"
    assert password(archive(file, given)) == "given"
    file.write_text('[archive]\nclickhouse_password = "in the configuration"', "utf-8")
    assert password(archive(file, {})) == "in the configuration"
    assert password(archive(file, {"ANDON_ARCHIVE_CLICKHOUSE_PASSWORD_FILE": str(secret_file)})) == "of the file"


def test_an_empty_secret_is_none(file: Path, secret_file: Path) -> None:
    """An empty variable, as compose files leave them, does not take away what a lower level names."""
    file.write_text(f'[archive]\nclickhouse_password_file = "{secret_file}"', "utf-8")
    assert password(archive(file, {"ANDON_ARCHIVE_CLICKHOUSE_PASSWORD": ""})) == "of the file"
