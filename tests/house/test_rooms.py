"""The plan of the house: no circles, no module that needs half of it, no crowded room; a table of who knows whom."""

import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from support.sources import ROOT, SOURCES, circles, imported, name_of, neighbours, room_of

MAX_FAN_OUT = 12
MAX_MODULES = 25
TABLE = tomllib.loads((Path(__file__).parent / "rooms.toml").read_text("utf-8"))
ROOMS = sorted({room_of(path) for path in SOURCES})
FOLDERS = sorted({path.parent for path in (*SOURCES, *(ROOT / "tests").rglob("*.py"))})


def graph_of(room: str) -> dict[str, set[str]]:
    """Which module of a room imports which of it."""
    paths = [path for path in SOURCES if room_of(path) == room]
    return {name_of(path): {name_of(other) for other in neighbours(path) if room_of(other) == room} for path in paths}


def between_rooms() -> dict[str, set[str]]:
    """Which room imports which other."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in SOURCES:
        found[room_of(path)] |= {room_of(other) for other in neighbours(path)} - {room_of(path)}
    return dict(found)


@pytest.mark.parametrize("room", ROOMS)
def test_no_import_circles(room: str) -> None:
    """Modules of a room can be read one after the other: none needs, by however many steps, one that needs it."""
    assert circles(graph_of(room)) == []


def test_no_circles_of_rooms() -> None:
    """The table stands in an order in which each room imports only rooms before it."""
    seen: set[str] = set()
    for room, entry in TABLE.items():
        assert set(entry["imports"]) <= seen, f"{room} imports rooms that stand below it"
        seen.add(room)


def test_the_table_is_the_code() -> None:
    """Every import between rooms is allowed by the table, and what the table allows is used."""
    assert {room: set(entry["imports"]) for room, entry in TABLE.items()} == between_rooms()


def test_type_checking_imports_count() -> None:
    """An import under TYPE_CHECKING is one."""
    assert "structlog.typing" in imported(ROOT / "pipeline" / "runtime" / "watchdog.py")


def test_circles_are_seen() -> None:
    """The search finds a circle of two and one of three, and nothing in a chain."""
    chain = {"a": {"b"}, "b": {"c"}, "c": set[str]()}
    assert circles(chain) == []
    assert circles(chain | {"c": {"a"}, "x": {"y"}, "y": {"x", "a"}}) == [["a", "b", "c"], ["x", "y"]]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_fan_out(path: Path) -> None:
    """No module imports more than twelve others of ours."""
    assert len(neighbours(path)) <= MAX_FAN_OUT


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_no_crowded_folder(folder: Path) -> None:
    """No folder holds more modules than a person keeps in mind."""
    modules = Counter(path.parent for path in folder.glob("*.py") if path.name != "__init__.py")
    assert modules[folder] <= MAX_MODULES
