"""The decision table by itself: it answers all, lets nothing through that is halted, and is what the page shows."""

from collections.abc import Iterator
from itertools import product

import pytest
from support.rollout_table import markdown, shown

from consumers.rollout.rules import FACTS, RULES, Facts, rule_for


def every_facts() -> Iterator[Facts]:
    """All that could be known."""
    return (Facts(*values) for values in product(*FACTS.values()))


def test_every_case_has_an_answer_and_every_rule_a_case() -> None:
    """Of all that could be known some rule fits, and none of them is hidden by those before it."""
    assert {rule_for(facts).name for facts in every_facts()} == {rule.name for rule in RULES}
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert all(value in FACTS[fact] for fact, values in rule.when.items() for value in values)


@pytest.mark.parametrize(
    ("fact", "values"),
    [
        ("record", ("halt", "halt_expired", "resume_expired", "resume_elsewhere")),
        ("doubt", ("yes",)),
        ("verdict", ("pending", "unverifiable")),
    ],
)
def test_what_stands_is_never_let_through(fact: str, values: tuple[str, ...]) -> None:
    """A halt, even an expired one, a resume that has ended, doubt and what waits: whatever else is known."""
    for facts in (facts for facts in every_facts() if getattr(facts, fact) in values):
        assert rule_for(facts).permission == "never"


def test_permission_needs_a_living_detector_that_hears() -> None:
    """Read to the end, heard, and either cleared or resumed: nothing else is a yes, and CLEARED is nothing else."""
    for facts in every_facts():
        rule = rule_for(facts)
        assert (rule.permission == "yes") == (rule.state == "CLEARED")
        if rule.permission == "yes":
            assert (facts.topics, facts.detector, facts.doubt) == ("read", "heard", "no")
            assert facts.record == "resume" or facts.verdict == "cleared" or facts.shadow == "cleared"


def test_silence_is_the_callers_choice_only_where_nothing_stands() -> None:
    """What a caller may choose is limited to states that say nothing about the update."""
    for facts in every_facts():
        rule = rule_for(facts)
        if rule.permission == "silent":
            assert rule.state == "DETECTOR_SILENT"
            assert facts.record in ("none", "halt_elsewhere", "resume")


def test_the_first_rule_that_fits_holds() -> None:
    """A halt above all; a resume above a verdict; nothing above an old heartbeat but what forbids."""
    calm = Facts("read", "none", "no", "heard", "cleared", "none", "watching")
    assert rule_for(calm).name == "cleared"
    assert rule_for(calm._replace(record="halt", detector="silent")).name == "halted"
    assert rule_for(calm._replace(record="resume", verdict="halted")).name == "resumed"
    assert rule_for(calm._replace(record="resume", detector="silent")).name == "silent"


def test_the_page_shows_the_table() -> None:
    """docs/rollout.md has it as it is: `python tests/support/rollout_table.py` writes it there."""
    assert shown() == markdown()
