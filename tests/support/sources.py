"""Andon's own source files, and which of them imports which."""

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "consumers")  # what is installed
CODE = (*PACKAGES, "grafana")
SOURCES = sorted(path for package in CODE for path in (ROOT / package).rglob("*.py"))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(path.read_text("utf-8"), str(path))


@functools.cache
def imported(path: Path) -> set[str]:
    """Every module named in an import statement of the file, wherever in it, and every name imported from one."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@functools.cache
def file_of(module: str) -> Path | None:
    """The source file of one of our own modules."""
    base = ROOT / module.replace(".", "/")
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if module.split(".")[0] in CODE and path.exists():
            return path
    return None


@functools.cache
def neighbours(path: Path) -> frozenset[Path]:
    """The files of ours that this one imports itself, under TYPE_CHECKING too. A package counts only where nothing in
    it is named: `from pipeline.wire import topics` is an import of topics.py."""
    found = {file: module for module in imported(path) if (file := file_of(module)) is not None}
    packages = {file for file in found if file.name == "__init__.py"}
    passed_through = {p for p in packages if any(f.parent.is_relative_to(p.parent) and f != p for f in found)}
    return frozenset(found.keys() - passed_through - {path})


def name_of(path: Path) -> str:
    """The module's dotted name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(path: Path) -> str:
    """The folder of a file as a dotted name."""
    return ".".join(path.relative_to(ROOT).parent.parts)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of nodes that reach one another (strongly connected components of two or more), each sorted."""
    reach = {node: _reached(graph, node) for node in graph}
    found = {tuple(sorted(b for b in reach[a] if a in reach.get(b, ()))) for a in graph}
    return sorted(list(group) for group in found if len(group) > 1)


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(graph[start])
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += graph.get(node, ())
    return seen
