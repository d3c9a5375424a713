"""Secrets as deploy/secrets.sh makes them, once for whoever asks."""

import subprocess
from pathlib import Path

from support.sources import ROOT
from support.waiting import DEADLINE_SECONDS

SCRIPT = ROOT / "deploy" / "secrets.sh"


def make(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it."""
    argv = ["bash", str(SCRIPT), str(directory), *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
