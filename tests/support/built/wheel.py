"""The sdist of these sources and the wheel that is made of that sdist; an environment in which the wheel is Andon."""

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest

from support.sources import ROOT

BUILD_SECONDS = 300.0
FOLDERS = ("consumers", "deploy", "docs", "grafana", "pipeline", "tests")
NOT_OURS = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*cache")
BACKEND = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


class Built(NamedTuple):
    """The two files that are released."""

    sdist: Path
    wheel: Path


def _run(*words: object, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def _build(place: Path) -> None:
    """From a copy without what tools leave behind: a build writes beside its sources."""
    source = place / "source"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=NOT_OURS)
    for file in ROOT.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy(file, source)
    _run("-c", BACKEND, "build_sdist", place, cwd=source)
    (sdist,) = place.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    _run("-c", BACKEND, "build_wheel", place, cwd=unpacked)
    shutil.rmtree(source)
    shutil.rmtree(place / "unpacked")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built once, whichever worker comes first."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built"
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            making = place.with_suffix(".making")
            making.mkdir()
            _build(making)
            making.rename(place)
    (sdist,), (wheel,) = place.glob("*.tar.gz"), place.glob("*.whl")
    return Built(sdist, wheel)


def wheel_beside_our_packages(wheel: Path, place: Path) -> Path:
    """An environment whose Andon is the wheel, and all else is what runs the tests; its `andon`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=BUILD_SECONDS)
    python = place / "bin" / "python"
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", "--python", python)
    _run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=place)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    return place / "bin" / "andon"
