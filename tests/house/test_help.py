"""Help comes at once: what a command needs is loaded when it runs, not when somebody asks what it takes."""

import subprocess
import sys

import pytest

from pipeline.audit.main import COMMANDS as AUDIT
from pipeline.cli import COMMANDS
from pipeline.doctor.rights import NEEDS
from pipeline.doctor.targets import STAGES
from pipeline.halts.main import COMMANDS as HALTS

# Each of these takes longer to load than help may take; a limit in seconds would judge the machine.
HEAVY = ("numpy", "pyarrow", "clickhouse_connect", "aiokafka", "aiohttp", "faust", "chdb", "structlog")
HELPED = ("", *COMMANDS, *(f"halts {name}" for name in HALTS), *(f"audit {name}" for name in AUDIT))


@pytest.mark.service
@pytest.mark.parametrize("command", HELPED)
def test_help_loads_nothing_heavy(command: str) -> None:
    """Of any command."""
    code = (
        "import sys; from pipeline import cli; sys.argv = ['andon', *sys.argv[1].split(), '--help']\n"
        "try: cli.andon(prog_name='andon')\n"
        f"except SystemExit: print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, check=True)
    assert "Usage: andon" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_doctor_offers_the_stages_whose_rights_it_knows() -> None:
    """Their names stand apart from their needs, which load much."""
    assert tuple(NEEDS) == STAGES
