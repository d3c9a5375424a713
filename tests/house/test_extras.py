"""The dependencies: no command imports what its extra does not bring, and one whose extra is absent says which."""

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from support.sources import PACKAGES, ROOT, file_of, name_of, tree_of

from pipeline.cli import BENCHES, COMMANDS
from pipeline.extras import LINE, MODULES, NEEDED

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SDK = file_of("consumers.rollout")
# What only some versions of Python have, or comes with what is listed.
BROUGHT = {
    "backports": {"backports.zstd"},
    "compression": {"backports.zstd"},
    "urllib3": {"clickhouse-connect"},
}
NAMES = packages_distributions()
NAMED = re.compile(r"(pipeline|consumers)(\.\w+)+:\w+")  # what a table loads by its name
CLI = file_of("pipeline.cli")  # whose tables name all: groups take their kind from it
SCIPY = {"pipeline.bench.nulls.ordinary", "pipeline.bench.nulls.bound"}  # say by themselves that they need andon[dev]
# Commands that do without a package, and say what is therefore not asked: tests/house/test_installed.py.
DO_WITHOUT = {"halts": {"clickhouse_connect"}, "audit": {"clickhouse_connect"}}


def runs(node: ast.AST) -> Iterator[ast.AST]:
    """Everything of a file that may run: nothing under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from runs(child)


@functools.cache
def imports(path: Path) -> set[str]:
    """What a file may import when it runs, at once or later."""
    found: set[str] = set()
    follows_names = path != CLI
    for node in runs(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif (
            follows_names
            and isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and NAMED.fullmatch(node.value)
        ):
            found.add(node.value.partition(":")[0])
    return found


def foreign(start: Path) -> dict[str, str]:
    """By package of others: the module that imports it, of all that this file reaches."""
    seen, todo, found = {start}, [start], dict[str, str]()
    while todo:
        path = todo.pop()
        for module in imports(path):
            top, file = module.split(".")[0], file_of(module)
            if file is not None and file not in seen:
                seen.add(file)
                todo.append(file)
            elif top not in sys.stdlib_module_names and top not in PACKAGES and name_of(path) not in SCIPY:
                found[top] = name_of(path)
    return found


def listed(extra: str) -> set[str]:
    """Names of the distributions that come with an extra, "" for none."""
    lines = [*PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] if extra else ())]
    if "andon[line]" in lines:
        lines += PROJECT["optional-dependencies"]["line"]
    return {re.split(r"[^A-Za-z0-9.-]", line)[0].lower() for line in lines} - {"andon"}


def wanting(start: Path, extra: str) -> dict[str, str]:
    """What the file reaches and its extra does not bring, and where."""
    known = listed(extra)
    return {top: where for top, where in foreign(start).items() if not known & distributions(top)}


@functools.cache
def distributions(top: str) -> set[str]:
    """Which bring a package of this name."""
    return {name.lower().replace("_", "-") for name in NAMES.get(top, ())} | BROUGHT.get(top, set())


def target(table: dict[str, tuple[str, str]], name: str) -> Path:
    """The file of a command."""
    file = file_of(table[name][0].split(":")[0])
    assert file is not None
    return file


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_what_its_extra_brings(command: str) -> None:
    """All that it may import, however late: `pip install 'andon[EXTRA]'` is enough for all that it does."""
    found = wanting(target(COMMANDS, command), NEEDED.get(command, ""))
    assert found.keys() == DO_WITHOUT.get(command, set())


@pytest.mark.parametrize("bench", BENCHES)
def test_a_bench_imports_what_bench_needs(bench: str) -> None:
    """They share one extra."""
    assert wanting(target(BENCHES, bench), NEEDED["bench"]) == {}


def test_whoever_obeys_needs_no_extra() -> None:
    """Every module of consumers/rollout."""
    assert SDK is not None
    assert [wanting(path, "") for path in SDK.parent.glob("*.py") if wanting(path, "")] == []


def test_the_search_sees() -> None:
    """What the gateway and the engine import, at once or in a function."""
    assert {"aiohttp", "confluent_kafka", "structlog"} <= foreign(target(COMMANDS, "collect")).keys()
    assert "faust" in wanting(target(COMMANDS, "correlate"), "")
    assert "chdb" in wanting(target(COMMANDS, "clickhouse"), "line")


@pytest.mark.parametrize("extra", ["line", "local"])
def test_what_is_looked_for_is_what_the_extra_brings(extra: str) -> None:
    """Each package of the extra by a module of its own; one with a condition only where it holds."""
    wanted = listed(extra) - listed("")
    if sys.version_info >= (3, 14):
        wanted.discard("backports.zstd")
    found = [distributions(module.partition(".")[0]) & wanted for module in MODULES[extra]]
    assert all(found)
    assert wanted == set().union(*found)


@pytest.mark.service
@pytest.mark.parametrize(("absent", "extra"), [(LINE, "line"), (("chdb", "noida_db"), "local")])
def test_a_command_whose_extra_is_absent_says_which(absent: tuple[str, ...], extra: str) -> None:
    """Exit code 2, the sentence and no traceback, for its help as well; the list of commands marks them; all others
    give their help."""
    code = (
        "import importlib.util, os, sys\n"
        f"absent = {absent!r}\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in absent: raise ModuleNotFoundError(name, name=name)\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name in absent else find(name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "from pipeline import cli\n"
        "sys.argv = ['andon', '--help']\n"
        "for command in (None, *cli.COMMANDS):\n"
        "    if os.fork() == 0:\n"
        "        sys.argv[1:] = filter(None, [command, '--help'])\n"
        "        cli.main()\n"
        "    print(command, os.waitstatus_to_exitcode(os.wait()[1]), flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    codes = dict(re.findall(r"^([\w-]+) (\d)$", done.stdout, re.MULTILINE))
    lacking = {name for name in COMMANDS if set(MODULES.get(NEEDED.get(name, ""), ())) & set(absent)}
    assert lacking == {name for name, needed in NEEDED.items() if extra in (needed, "line")}
    assert {name for name, code in codes.items() if code == "2"} == lacking
    assert {codes[name] for name in COMMANDS if name not in lacking} <= {"0", "4"}  # 4: help is no answer of the gate
    said = re.findall(r"^andon: ([\w-]+) needs [\w., ]+: pip install 'andon\[(\w+)\]'$", done.stderr, re.MULTILINE)
    assert dict(said) == {name: NEEDED[name] for name in lacking}
    assert len(done.stderr.splitlines()) == len(said)
    marked = re.findall(
        r"^  ([\w-]+) .*\[not installed: andon\[(\w+)\]\]", re.sub(r"\n {10,}", " ", done.stdout), re.MULTILINE
    )
    assert dict(marked) == dict(said)
