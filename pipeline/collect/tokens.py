"""Bearer tokens: a TOML file of `[tokens]` sha256-hex-of-token = "fleet". A plain token is never stored."""

import hashlib
import hmac
import os
import re
import secrets
import tempfile
from pathlib import Path
from typing import NamedTuple

import click

from pipeline.runtime.config import read_toml
from pipeline.runtime.errors import ConfigError, writable
from pipeline.runtime.say import say
from pipeline.wire.events import MAX_TEXT_CHARS

PREFIX = "andon_"  # lets secret scanners recognise a leaked token
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")


def digest_of(token: str) -> str:
    """The form in which a token is stored."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def check_fleet(fleet: str) -> None:
    """Raises ConfigError unless `fleet` is fit for the wire and for a TOML string."""
    if not 1 <= len(fleet) <= MAX_TEXT_CHARS or not fleet.isprintable():
        raise ConfigError(f"fleet {fleet!r}: must be 1 to {MAX_TEXT_CHARS} printable characters")


def read_tokens(path: Path) -> dict[str, str]:
    """Digest → fleet. Raises ConfigError when the file is missing or is not of the form above."""
    tokens = read_toml(path).get("tokens", {})
    if not isinstance(tokens, dict):
        raise ConfigError(f"{path}: [tokens] must be a table of sha256 hex = fleet")
    for digest, fleet in tokens.items():
        if not _SHA256_HEX.fullmatch(digest):
            raise ConfigError(f"{path}: [tokens] has a key that is not 64 lower-case hex digits (sha256 of a token)")
        if not isinstance(fleet, str):
            raise ConfigError(f"{path}: tokens.{digest[:8]}… = {fleet!r}: must be a fleet's name")
        check_fleet(fleet)
    return tokens


class Sender(NamedTuple):
    """Who an Authorization header says it is: the digest of its token, and whose that is."""

    token: str
    fleet: str


class TokenTable:
    """The tokens in force. `refresh` takes over an edited file, so a token is added or revoked without a restart.

    What is no good to start with is no good to go on with: then what was in force stays, and `trouble` says why.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.trouble = ""
        self._stamp = self._stat()
        self._tokens = self._read()

    def __len__(self) -> int:
        return len(self._tokens)

    def _stat(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read: {error}") from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> dict[str, str]:
        tokens = read_tokens(self._path)
        if not tokens:
            raise ConfigError(f"{self._path}: holds no token; `andon token FLEET --tokens-file …` adds one")
        return tokens

    def refresh(self, even_unchanged: bool = False) -> bool:
        """Read the file again if it changed; True when it did and is now in force."""
        try:
            stamp = self._stat()
            if stamp == self._stamp and not even_unchanged and not self.trouble:
                return False
            self._tokens, self._stamp = self._read(), stamp
        except ConfigError as error:
            self.trouble = str(error)
            return False
        self.trouble = ""
        return True

    def digests(self) -> set[str]:
        """Of the tokens in force."""
        return set(self._tokens)

    def sender_of(self, authorization: str | None) -> Sender | None:
        """Whose an Authorization header is, None if it grants nothing.

        Every entry is compared, in constant time: how long it takes says nothing about how close a guess was.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        digest = digest_of(token.strip())
        granted = None
        for known, fleet in self._tokens.items():
            if hmac.compare_digest(known, digest):
                granted = Sender(digest, fleet)
        return granted


def add_token(tokens_file: Path, fleet: str) -> str:
    """Make a token for `fleet`, store its digest (file mode 0600) and return it: the only time that it is seen."""
    check_fleet(fleet)
    token = PREFIX + secrets.token_urlsafe(32)
    text = tokens_file.read_text("utf-8").rstrip() if tokens_file.exists() else ""
    quoted = fleet.replace("\\", "\\\\").replace('"', '\\"')
    _replace(tokens_file, f'{text or "[tokens]"}\n{digest_of(token)} = "{quoted}"\n')
    return token


def _replace(path: Path, text: str) -> None:
    """Write `text` beside the file, check it, and put it in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mkstemp creates with mode 0600
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        last = text.rstrip().rsplit("\n", 1)[1].split(" ")[0]
        if last not in read_tokens(beside):
            raise ConfigError(f"{path}: [tokens] must be the last table of the file")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@click.command("token")
@click.argument("fleet")
@click.option(
    "--tokens-file", type=click.Path(path_type=Path, dir_okay=False), required=True, help="TOML file to add to."
)
def command(fleet: str, tokens_file: Path) -> None:
    """Make a gateway token for FLEET and print it. Only its hash is stored: keep it now, it cannot be shown again."""
    with writable("--tokens-file", tokens_file, "a file in a writable directory"):
        token = add_token(tokens_file, fleet)
    say(token)
