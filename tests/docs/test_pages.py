"""What the documents name exists: commands, options, settings, paths, links, targets, named queries, words."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from consumers.clickhouse.ask.named import queries
from pipeline.cli import BENCHES, andon
from pipeline.runtime.config import SECTIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *(page for top in ("docs", "deploy", "grafana") for page in (ROOT / top).rglob("*.md")),
    )
)
# What has changed speaks of what there was: only its links are looked at.
PRESENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
OTHER_VARIABLES = {"ANDON_CONFIG", "ANDON_DATA_DIR", "ANDON_SECTION_KEY"}
MAX_ENTRY_LINES = 2


def name_of(page: Path) -> str:
    """A page by its path in the repository."""
    return page.relative_to(ROOT).as_posix()


def text_of(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text("utf-8")


def shell_lines(text: str) -> list[str]:
    """The lines of a page's blocks of commands, without comments."""
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [re.split(r"\s#", line)[0].rstrip() for block in blocks for line in block.splitlines()]


def in_backticks(text: str, command: str) -> list[str]:
    """What begins with a command's name in backticks, on one line or two; up to an ellipsis."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s+", " ", found) for found in re.findall(rf"`({command}\s[^`…]*)", prose)]


@cache
def commands() -> list[tuple[str, tuple[str, ...]]]:
    """Every `andon …` of the pages: where it stands, and its words."""
    named = []
    for page in PRESENT:
        text = page.read_text("utf-8")
        lines = [line for line in shell_lines(text) if line.startswith("andon ")] + in_backticks(text, "andon")
        named += [(f"{name_of(page)}: {line}", tuple(shlex.split(line)[1:])) for line in lines]
    return named


def resolved(line: str, words: tuple[str, ...]) -> tuple[click.Command, list[str], list[str]]:
    """The command that the words call, its path, and the words that are left: its own."""
    command: click.Command = andon
    path, left = [], list(words)
    while isinstance(command, click.Group) and left and re.fullmatch("[a-z][a-z-]*", left[0]):
        found = command.get_command(click.Context(command), left[0])
        assert found is not None, f"{line}: no command {left[0]}"
        command = found
        path.append(left.pop(0))
    return command, path, left


@pytest.mark.parametrize(("line", "words"), commands())
def test_commands_exist_with_their_options(line: str, words: tuple[str, ...]) -> None:
    """Each is one of the command line's, with options that it has, and of a choice one that there is."""
    command, _, left = resolved(line, words)
    context = click.Context(command, resilient_parsing=True)
    known = {option: param for param in command.get_params(context) for option in param.opts}
    for option, value in pairwise([*left, ""]):
        if option.startswith("-"):
            assert option in known, f"{line}: no option {option}"
            kind = known[option].type
            if isinstance(kind, click.Choice) and value.islower():
                assert value in kind.choices, line


@pytest.mark.parametrize("path", sorted({" ".join(resolved(line, words)[1]) for line, words in commands()}))
def test_commands_have_help(path: str) -> None:
    """Each prints its help."""
    done = CliRunner().invoke(andon, [*path.split(), "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage: " in done.output


def test_every_command_and_every_bench_is_documented() -> None:
    """Each command stands in a document, each bench in the table of the page about performance."""
    told = {" ".join(resolved(line, words)[1]).split(" ")[0] for line, words in commands()}
    assert set(andon.list_commands(click.Context(andon))) <= told
    benches = re.findall(r"^\| `andon bench (\w+)`", text_of("docs/performance.md"), re.MULTILINE)
    assert sorted(benches) == sorted(BENCHES)


def test_named_queries_exist() -> None:
    """`andon query NAME` names a query of the analysts' page, with parameters that it takes."""
    for line, words in commands():
        _, path, left = resolved(line, words)
        if path == ["query"] and left and re.fullmatch("[a-z-]+", left[0]):
            assert left[0] in queries(), line
            given = {word.partition("=")[0] for option, word in pairwise(left) if option in ("-p", "--param")}
            assert given == set(queries()[left[0]].parameters), line


@cache
def settings() -> set[str]:
    """Every key of every section that a command takes, as `section.key`."""

    def under(command: click.Command) -> Iterator[click.Command]:
        yield command
        if isinstance(command, click.Group):
            for name in command.list_commands(click.Context(command)):
                found = command.get_command(click.Context(command), name)
                assert found is not None
                yield from under(found)

    found: set[str] = set()
    for command in under(andon):
        for section, struct in getattr(command.callback, "sections", {}).items():
            found |= {f"{section}.{field.name}" for field in msgspec.structs.fields(struct)}
    return found


@pytest.mark.parametrize("page", PRESENT, ids=name_of)
def test_settings_are_known(page: Path) -> None:
    """Environment variables, `section.key` and `[section]` are settings that some command takes."""
    text = page.read_text("utf-8")
    variables = {f"ANDON_{key.replace('.', '_')}".upper() for key in settings()} | OTHER_VARIABLES
    for name in re.findall(r"\bANDON_[A-Z0-9_]+", text):
        assert name in variables or (name.endswith("_") and any(v.startswith(name) for v in variables)), name
    sections = "|".join(SECTIONS)
    assert set(re.findall(rf"`((?:{sections})\.[a-z_]+)`", text)) <= settings()
    assert set(re.findall(r"`\[([a-z]+)\]", text)) - {"default"} <= set(SECTIONS)


@pytest.mark.parametrize("page", PRESENT, ids=name_of)
def test_paths_exist(page: Path) -> None:
    """Paths are paths of the repository, and a module that is named by its file alone is there."""
    text = page.read_text("utf-8")
    for path in re.findall(r"(?<![\w/.])(?:tests|pipeline|consumers|deploy|docs|grafana)/[\w/.-]*\w", text):
        assert (ROOT / path).exists(), path
    modules = {path.name for top in ("pipeline", "consumers", "tests", "deploy") for path in (ROOT / top).rglob("*.py")}
    assert set(re.findall(r"`(\w+\.py)`", text)) <= modules


def test_names_in_the_instructions_are_in_the_code() -> None:
    """Tables, functions and types that CONTRIBUTING.md tells to add to."""
    sources = [path for folder in ("pipeline", "consumers", "tests") for path in (ROOT / folder).rglob("*.py")]
    code = set(re.findall(r"\w+", "\n".join(path.read_text("utf-8") for path in sources)))
    named = re.findall(r"`([A-Z]{4,}|[A-Z]+_[A-Z_]+|_[A-Z_]+|[A-Z][a-z]+\w*|\w+_\w*[a-z])`", text_of("CONTRIBUTING.md"))
    assert len(named) > 15
    assert set(named) <= code


@pytest.mark.parametrize("top", ["pipeline", "consumers", "tests"])
def test_comments_name_modules_that_are_there(top: str) -> None:
    """A module that another names, in a comment, a docstring or a message, is in the repository."""
    sources = [
        path for folder in ("pipeline", "consumers", "tests", "deploy") for path in (ROOT / folder).rglob("*.py")
    ]
    names = {path.name for path in sources}
    for path in (path for path in sources if path.is_relative_to(ROOT / top)):
        assert set(re.findall(r"\b\w+\.py\b", path.read_text("utf-8"))) <= names, path


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made from their words."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    """Every relative link leads to a file, and its anchor to a heading there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match("[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_make_targets_exist() -> None:
    """`make …` in a document is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    for page in PRESENT:
        text = page.read_text("utf-8")
        named = [*(line for line in shell_lines(text) if line.startswith("make ")), *in_backticks(text, "make")]
        assert {line.split()[1] for line in named} <= targets, name_of(page)


def test_the_front_page_names_every_page() -> None:
    """docs/README.md links to every page there is; to runbooks their own front page does."""
    fronts = ROOT / "docs" / "README.md", ROOT / "deploy" / "runbooks" / "README.md"
    linked = {
        (front.parent / path).resolve()
        for front in fronts
        for path in re.findall(r"\]\(([^)#\s]+)\)", front.read_text("utf-8"))
    }
    assert {page for page in PAGES if page.name != "README.md"} <= linked
    assert {ROOT / name / "README.md" for name in ("deploy", "deploy/integrations", "grafana")} <= linked


def entries() -> list[str]:
    """The entries of the glossary."""
    return re.findall(r"^- .*(?:\n  .*)*", text_of("docs/glossary.md"), re.MULTILINE)


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.split("**")[1])
def test_words_of_the_glossary_are_the_codes(entry: str) -> None:
    """An entry has two lines at most, ends with the room where the word lives, and what it quotes stands there."""
    assert len(entry.splitlines()) <= MAX_ENTRY_LINES
    room = re.search(r"\(`([\w/.]+)`\)$", entry)
    assert room is not None
    place = ROOT / room[1]
    sources = [place] if place.is_file() else sorted(place.rglob("*.py"))
    text = "\n".join(path.read_text("utf-8") for path in sources)
    for name in re.findall(r"`([A-Za-z_]+)`", entry):
        assert re.search(rf"\b{name}\b", text), f"{room[1]} knows no {name}"


def test_a_word_stands_once_in_the_glossary() -> None:
    """One word, one meaning."""
    words = [word for entry in entries() for word in re.findall(r"\*\*(.+?)\*\*", entry)]
    assert sorted(words) == sorted(set(words))
