"""The roles of deploy/acls.toml as deploy/README.md shows them. As a program it writes them there."""

from pathlib import Path

from pipeline.access.roles import Names, read_roles

ROOT = Path(__file__).parents[2]
PAGE, DATA = ROOT / "deploy" / "README.md", ROOT / "deploy" / "acls.toml"
BEGIN, END = "<!-- roles: begin -->\n", "<!-- roles: end -->\n"


def markdown() -> str:
    """A row for each role."""
    rows = ["| role | user | topics | groups and transactional ids | for |", "|---|---|---|---|---|"]
    for name, role in read_roles(DATA).items():
        others = "; ".join(filter(None, (cell(role.groups), cell(role.transactional_ids))))
        users = ", ".join(f"`{user}`" for user in role.users)
        rows.append(f"| `{name}` | {users} | {cell(role.topics)} | {others} | {role.purpose} |")
    return "\n".join(rows) + "\n"


def cell(names: Names) -> str:
    """By operation, what it is allowed on; operations on the same names together."""
    by_names: dict[tuple[str, ...], list[str]] = {}
    for operation, given in names.items():
        by_names.setdefault(given, []).append(operation.replace("_", " "))
    return "; ".join(
        f"{', '.join(does)}: {' '.join(f'`{name}`' for name in given)}" for given, does in by_names.items()
    )


def shown() -> str:
    """What the page has between its two marks."""
    return PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


if __name__ == "__main__":
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + markdown() + END + rest.partition(END)[2], "utf-8")
