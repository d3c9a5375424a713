"""The gate's decision table as docs/rollout.md shows it. As a program it writes it there."""

from pathlib import Path

from consumers.rollout.rules import FACTS, RULES

PAGE = Path(__file__).parents[2] / "docs" / "rollout.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def markdown() -> str:
    """The rules in their order, and below what their words mean."""
    rows = [f"| rule | {' | '.join(FACTS)} | state | goes on |", "|---" * (len(FACTS) + 3) + "|"]
    for rule in RULES:
        cells = [" ".join(f"`{value}`" for value in rule.when.get(fact, ())) for fact in FACTS]
        rows.append(f"| `{rule.name}` | {' | '.join(cells)} | **{rule.state}** | {rule.permission} |")
    meanings = ["| fact | value | meaning |", "|---|---|---|"]
    for fact, values in FACTS.items():
        for value, meaning in values.items():
            meanings.append(f"| `{fact}` | `{value}` | {meaning or 'what the record says'} |")
    return "\n".join([*rows, "", *meanings]) + "\n"


def shown() -> str:
    """What the page has between its two marks."""
    return PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


if __name__ == "__main__":
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + markdown() + END + rest.partition(END)[2], "utf-8")
