"""The rules of the house that a reader relies on: what is pure stays pure, one file knows Faust, files stay short."""

import ast
from pathlib import Path

import pytest
from support.sources import ROOT, SOURCES, file_of, imported, tree_of

MAX_LINES = 300

PURE = (
    "pipeline/decide/",
    "pipeline/wire/",
    *(f"consumers/rollout/{name}.py" for name in ("backlog", "duties", "gate", "orders", "rules", "words")),
    *(f"pipeline/halt/{name}.py" for name in ("believe", "merit", "safety")),
    *(f"pipeline/halts/{name}.py" for name in ("facts", "known")),
    *(f"pipeline/combine/{name}.py" for name in ("admit", "batch", "emit", "fold")),
    "pipeline/runtime/reading/progress.py",
)
# Networks, files, processes, clocks, chance and logs come in as arguments, if at all.
IMPURE = {
    "aiohttp", "aiokafka", "asyncio", "chdb", "click", "clickhouse_connect", "concurrent", "confluent_kafka", "faust",
    "glob", "http", "io", "logging", "mode", "multiprocessing", "os", "pathlib", "prometheus_client", "random",
    "requests", "rich", "secrets", "select", "shutil", "signal", "socket", "sqlite3", "structlog", "subprocess", "sys",
    "tempfile", "threading", "time", "urllib.request", "urllib3", "uuid",
}  # fmt: skip
IMPURE_CALLS = {"open", "input", "print", "datetime.now", "datetime.utcnow", "date.today", "np.random", "numpy.random"}


def reached(path: Path) -> set[Path]:
    """The file and every one of ours that it imports, directly or not."""
    seen, todo = {path}, [path]
    while todo:
        for module in imported(todo.pop()):
            found = file_of(module)
            if found is not None and found not in seen:
                seen.add(found)
                todo.append(found)
    return seen


def impurities(path: Path) -> set[str]:
    """What a pure file must not have, that this one has."""
    names = imported(path)
    parts = {".".join(name.split(".")[:length]) for name in names for length in (1, 2)}
    calls = {ast.unparse(n) for n in ast.walk(tree_of(path)) if isinstance(n, ast.Name | ast.Attribute)}
    return (parts & IMPURE) | (calls & IMPURE_CALLS)


def is_pure(path: Path) -> bool:
    """Whether the house has declared the file pure."""
    name = path.relative_to(ROOT).as_posix()
    return any(name == rule or (rule.endswith("/") and name.startswith(rule)) for rule in PURE)


@pytest.mark.parametrize("path", [p for p in SOURCES if is_pure(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_pure_files_reach_neither_io_nor_clock_nor_chance(path: Path) -> None:
    """A pure file, and all of ours that it imports, knows nothing of Kafka, files, logs, clocks or random numbers."""
    found = {str(file.relative_to(ROOT)): what for file in reached(path) if (what := impurities(file))}
    assert not found


def test_the_check_itself_sees_impurity() -> None:
    """The check fails on a file that is known to do I/O, so its silence means something."""
    assert {"os", "pathlib", "click"} <= impurities(ROOT / "pipeline/runtime/config.py")
    assert ROOT / "pipeline/runtime/errors.py" in reached(ROOT / "pipeline/runtime/config.py")


def test_who_imports_faust() -> None:
    """Faust could be exchanged by rewriting the file that provides the ports, and what makes Faust fit for it."""
    users = [path for path in SOURCES if any(n.split(".")[0] in ("faust", "mode") for n in imported(path))]
    assert {str(path.relative_to(ROOT)) for path in users} == {
        "pipeline/correlate/app.py",
        "pipeline/correlate/client/driver.py",
        "pipeline/correlate/client/recoveries.py",
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_short(path: Path) -> None:
    """No file is longer than a person reads in one sitting."""
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


def test_what_is_skipped_is_said(pytestconfig: pytest.Config) -> None:
    """A run without Java or Maven says which tests it left out and why; expected failures stay quiet."""
    assert "-rfEs" in pytestconfig.getini("addopts")
