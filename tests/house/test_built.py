"""What is released holds all that it needs, and nothing that does not belong: sdist and wheel, by their contents."""

import re
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import PurePosixPath

import pytest
from packaging.metadata import Metadata
from support.built.wheel import FOLDERS, Built
from support.sources import PACKAGES, ROOT

from pipeline import __version__

pytestmark = [pytest.mark.service, pytest.mark.usefixtures("embedded")]  # in the process that installs it, too

DATA = {".md", ".sql", ".toml", ".xml", ".typed"}
SHARED = {"prometheus.yml", "rules.yml"}
FOREIGN = re.compile(r"(^|/)(__pycache__|\.andon|secrets|build|\.env)(/|$)|\.(pyc|pem|key|log|egg-link)$")


def ours(folder: str) -> set[str]:
    """The files of a folder of the sources, without what tools leave there."""
    found = (path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file())
    return {name for name in found if not re.search(r"__pycache__|\.egg-info|\.pyc$", name)}


@pytest.fixture(scope="module")
def wheel(built: Built) -> dict[str, bytes]:
    """What is in the wheel, by name."""
    with zipfile.ZipFile(built.wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def test_the_wheel_is_the_packages_and_what_prometheus_is_given(wheel: dict[str, bytes]) -> None:
    """Every module, every file that a command reads, by the bytes of the sources; beside them its own description and
    nothing else."""
    packages = {name for name in wheel if name.startswith(tuple(f"{each}/" for each in PACKAGES))}
    assert packages == set().union(*(ours(package) for package in PACKAGES))
    assert {PurePosixPath(name).suffix for name in packages} <= {".py", *DATA}
    assert all(wheel[name] == (ROOT / name).read_bytes() for name in packages)
    about, data = f"andon-{__version__}.dist-info/", f"andon-{__version__}.data/data/share/andon/prometheus/"
    rest = wheel.keys() - packages
    assert {name.removeprefix(data) for name in rest if name.startswith(data)} == SHARED
    assert all(name.startswith((about, data)) for name in rest)
    assert f"{about}licenses/LICENSE" in rest


def test_the_sdist_is_the_sources(built: Built) -> None:
    """All folders whole, so that the wheel comes from it (it does: `built`), its tests run and a cluster can be set up;
    no key, no cache, nothing of a line that ran here."""
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        members = archive.getmembers()
    assert [name for name in names if FOREIGN.search(name)] == []
    assert all(member.isfile() or member.isdir() for member in members)
    for folder in FOLDERS:
        assert {name for name in ours(folder) if not FOREIGN.search(name)} <= names, folder
    assert {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "constraints.txt"} <= names


def test_what_the_index_is_told_is_well_formed(wheel: dict[str, bytes]) -> None:
    """Its metadata are valid, name the version that the command says, and show README; every extra is there."""
    raw = wheel[f"andon-{__version__}.dist-info/METADATA"]
    told = Metadata.from_email(raw, validate=True)
    assert (told.name, str(told.version), told.description_content_type) == ("andon", __version__, "text/markdown")
    assert told.description == (ROOT / "README.md").read_text("utf-8")
    assert set(told.provides_extra or ()) >= {"line", "local", "bakeoff", "dev"}
    assert message_from_bytes(raw)["License-Expression"] == "Apache-2.0"


def test_the_version_has_one_place() -> None:
    """`pipeline.__version__`; pyproject.toml reads it, and the changelog's newest section is of it."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert re.search(r'^dynamic = \["version"\]', project, re.MULTILINE)
    assert not re.search(r'^version = "', project, re.MULTILINE)
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] in (__version__, "Unreleased")
