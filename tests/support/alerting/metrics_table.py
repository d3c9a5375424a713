"""The table of docs/metrics.md, from where metrics are declared. As a program it writes it there."""

from pathlib import Path

from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from pipeline.runtime import metrics
from pipeline.runtime.metrics import Family

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def declared() -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """By the name that a scrape shows: type, help, labels."""
    found = {}
    for value in vars(metrics).values():
        if isinstance(value, MetricWrapperBase):
            name = value._name + ("_total" if isinstance(value, Counter) else "")
            found[name] = value._type, value._documentation, tuple(value._labelnames)
        elif isinstance(value, Family):
            found[value.name] = "gauge", value.help, value.labels
    return found


def markdown() -> str:
    """A row each, in the order of names."""
    rows = ["| metric | type | labels | what it says |", "|---|---|---|---|"]
    for name, (kind, text, labels) in sorted(declared().items()):
        rows.append(f"| `{name}` | {kind} | {' '.join(f'`{label}`' for label in labels)} | {text} |")
    return "\n".join(rows) + "\n"


def shown() -> str:
    """What the page has between its two marks."""
    return PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


if __name__ == "__main__":
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + markdown() + END + rest.partition(END)[2], "utf-8")
