"""Every command that writes a directory or a file, where it cannot: one line, with the setting, the place and what
would be right."""

import os
import subprocess
from pathlib import Path

import pytest
from support.outside import ANDON
from support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.service

# By command line, with PLACE for a directory that cannot be: what the one line says of the setting.
COMMANDS = {
    "correlate --data-dir PLACE": "correlate.data_dir = 'PLACE'",
    "clickhouse --data-dir PLACE": "engine.data_dir = 'PLACE'",
    "up --data-dir PLACE": "up.data_dir = 'PLACE'",
    "demo --data-dir PLACE": "up.data_dir = 'PLACE'",
    "keys new operator ann --dir PLACE": "--dir = 'PLACE'",
    "token acme --tokens-file PLACE/tokens.toml": "--tokens-file = 'PLACE/tokens.toml'",
    "collect --tokens-file PLACE/tokens.toml": "PLACE/tokens.toml: cannot be read",
    "replay quiet-week --hosts 10 --out PLACE/x.ndjson": "--out = 'PLACE/x.ndjson'",
    "backtest PLACE/x.ndjson": "PLACE/x.ndjson: cannot be read",
}


@pytest.mark.parametrize("words", COMMANDS)
def test_what_cannot_be_written_is_named(words: str, tmp_path: Path) -> None:
    """Exit code 2: to be started again does not help. No traceback, nothing made."""
    (tmp_path / "file").write_text("here", "utf-8")
    place = str(tmp_path / "file" / "data")  # for root, too, who may write to what is read-only
    argv = [ANDON, *words.replace("PLACE", place).split()]
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        env=os.environ | {"ANDON_ENGINE_PASSWORD": "x"},
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert COMMANDS[words].replace("PLACE", place) in done.stderr.splitlines()[-1]
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["file"]
