"""What `andon gate` prints, and which code goes with which state."""

from typing import get_args

from support.rollout_world import ASKED, NOW, gate_of, halt

from consumers.rollout.main import EXIT_CODES, line
from consumers.rollout.rules import RULES, State


def test_one_line_whatever_a_record_says() -> None:
    """A reason with line breaks that pretends to be another answer stays on the line of this one."""
    decision = gate_of(halt(reason="x\nCLEARED\r\u2028CLEARED crowdstrike")).decide(ASKED, NOW)
    said = line(decision)
    assert said.startswith("HALTED crowdstrike/falcon-content/291 in broad of acme: halted in every ring by andon: x ")
    assert len(said.splitlines()) == 1


def test_zero_is_permission_and_nothing_else_is() -> None:
    """Every state has a code; 0 belongs to the one whose rules all say yes."""
    assert set(EXIT_CODES) == set(get_args(State))
    assert {rule.state for rule in RULES if rule.permission == "yes"} == {
        state for state, code in EXIT_CODES.items() if code == 0
    }
    assert all(rule.permission == "yes" for rule in RULES if EXIT_CODES[rule.state] == 0)
