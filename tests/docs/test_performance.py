"""docs/performance.md: a figure that others quote is the same there."""

import re
from pathlib import Path

from pipeline.decide.name_index import MAX_UPDATES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def test_the_largest_state_is_the_same_in_table_rule_and_runbook() -> None:
    """Updates times what each takes is the sum in the table; rule and runbook quote it, and a limit above it."""
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    found = re.search(r"^\| ([\d,]+), the most \|.*\| ([\d.]+), so (\d+) MB in all \|$", page, re.MULTILINE)
    assert found is not None
    updates, each_kb, sum_mb = int(found[1].replace(",", "")), float(found[2]), int(found[3])
    assert round(updates * each_kb / 1000) == sum_mb
    assert updates == MAX_UPDATES
    rules = (DEPLOY / "prometheus" / "rules.yml").read_text("utf-8")
    runbook = (DEPLOY / "runbooks" / "AndonStateLarge.md").read_text("utf-8")
    rule = rules.partition("alert: AndonStateLarge")[2].partition("- alert:")[0]
    quoted = re.findall(r"(?:took|take) (\d+) MB", rule) + re.findall(r"(?:took|take) (\d+) MB", runbook)
    assert quoted == [str(sum_mb)] * 2
    assert f"{updates:,} updates" in rule
    assert f"{updates:,} live updates" in runbook
    (limit,) = re.findall(r"> (\d+)e6", rule)
    assert sum_mb < int(limit)
    assert f"more than {limit} MB" in runbook
