"""Bad configuration of a stage stops `andon up` before, or as soon as, it is seen: exit code 2, one sentence."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.waiting import DEADLINE_SECONDS

from pipeline.cli import andon
from pipeline.local import settings
from pipeline.local.plan import STAGES


def test_the_sections_are_those_of_the_commands() -> None:
    """What is looked at beforehand is what each stage will read."""
    for name in STAGES.keys() - {"broker"}:
        command: Any = andon.get_command(None, name)  # type: ignore[arg-type]
        read = {section: f"{cls.__module__}:{cls.__name__}" for section, cls in command.callback.sections.items()}
        assert dict(settings.SECTIONS[name]) == read


def up(place: Path, file: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """`andon up` without ClickHouse, which must end by itself."""
    argv = ["up", "--data-dir", str(place), "--stages", "combine,correlate", "--config", str(file)]
    return subprocess.run(
        [sys.executable, "-P", "-m", "pipeline", *argv],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


@pytest.mark.service
@pytest.mark.parametrize(
    ("text", "environ", "words"),
    [
        ("[correlate]\nheartbeat_seconds = 0", {}, "correlate.heartbeat_seconds = 0 (set by "),
        ("", {"ANDON_COMBINE_BATCH_MS": "101"}, "combine.batch_ms = '101' (set by ANDON_COMBINE_BATCH_MS): "),
        ("[kafak]", {}, "unknown section [kafak]; known: [kafka]"),
    ],
)
def test_nothing_is_started_with_a_bad_configuration(
    tmp_path: Path, text: str, environ: dict[str, str], words: str
) -> None:
    """Key, value and source, as the stage itself would say; the broker has not run."""
    file = tmp_path / "andon.toml"
    file.write_text(text, "utf-8")
    ended = up(tmp_path / "line", file, **environ)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert "starting" not in ended.stdout


@pytest.mark.service
def test_what_only_the_stage_can_see_stops_the_line_too(tmp_path: Path) -> None:
    """A policy that cannot be read: the stage ends with exit code 2, is not started again, and so ends the line."""
    policy, file = tmp_path / "policy.toml", tmp_path / "andon.toml"
    policy.write_text("[default]\nmode = 'off'", "utf-8")
    file.write_text(f"[correlate]\npolicy_file = '{policy}'", "utf-8")
    ended = up(tmp_path / "line", file)
    assert ended.returncode == 2
    assert ended.stderr.startswith("andon: correlate refuses its configuration: ")
    assert "[default] mode = 'off': one of enforce, shadow" in ended.stderr
    assert "correlate: refuses its configuration (exit code 2)" in ended.stdout
    assert "correlate: ended" not in ended.stdout
