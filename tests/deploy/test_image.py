"""What the image installs, installed as deploy/Dockerfile does it: no image can be built here."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from support.deploying.image import DOCKERFILE
from support.outside import needs
from support.sources import ROOT
from support.waiting import DEADLINE_SECONDS

pytestmark = [pytest.mark.service, pytest.mark.slow]

MAX_BYTES = 250_000_000
INSTALL_SECONDS = 600.0
# All that a stage loads once it runs, and that its packages may load when something happens.
LOADED = (
    "pipeline.collect.stage", "pipeline.combine.stage", "pipeline.correlate.app", "pipeline.correlate.stage",
    "consumers.clickhouse.archive.stage", "consumers.clickhouse.archive.insert", "consumers.notify.notifier",
    "consumers.clickhouse.schema.migrate", "pipeline.access.main", "pipeline.halts.main", "consumers.rollout",
    "aiokafka.codec", "clickhouse_connect.driver.httpclient", "pyarrow.ipc", "rich.traceback", "numpy.linalg",
)  # fmt: skip


def test_it_is_light_and_whole(tmp_path: Path) -> None:
    """Under 250 MB; no pip, no compiler's headers; every stage loads all that it loads when it runs."""
    needs("sh", "strip")
    source = tmp_path / "source"
    for line in DOCKERFILE.read_text("utf-8").splitlines():
        if line.startswith("COPY ") and line.split()[-1].startswith("source"):
            *given, target = line.split()[1:]
            for name in given:
                place = source / Path(target).relative_to("source")
                place = place / name if target.endswith("/") else place
                place.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-r", ROOT / name, place], check=True)
    venv = tmp_path / "andon"
    argv = [
        "sh",
        ROOT / "deploy" / "image" / "install.sh",
        venv,
        ROOT / "deploy" / "image" / "requirements.txt",
        source,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    bytes_ = sum(path.lstat().st_size for path in venv.rglob("*") if not path.is_symlink())
    print(json.dumps({"installed_bytes": bytes_}))
    assert bytes_ < MAX_BYTES
    assert not list(venv.rglob("pip")) + list(venv.rglob("*.h"))
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    argv = [venv / "bin" / "python", "-I", "-c", code, *LOADED]
    loaded = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False, env=environ)
    assert loaded.returncode == 0, loaded.stderr
