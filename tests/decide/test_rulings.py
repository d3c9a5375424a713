"""What people decide, as the detector hears it: evidence is kept, a higher bar holds, and nothing else changes."""

import pytest
from support.decide_world import GUILTY, T0, Fed, fault, feed, life

from pipeline.decide.detector import Detector
from pipeline.decide.orders import Ruling
from pipeline.decide.policy import Policy, PolicySet
from pipeline.wire.partials import UpdateId
from pipeline.wire.spans import HOUR_MS, MINUTE_MS
from pipeline.wire.verdicts import Verdict

UPDATE = UpdateId(GUILTY.vendor, GUILTY.product, GUILTY.version)
HALF = T0 + HOUR_MS // 2
CUT_MS = MINUTE_MS // 2  # of the two hours after a ruling
POLICIES = PolicySet()


@pytest.fixture(scope="module")
def halted() -> bytes:
    """A detector that has halted the update."""
    detector = Detector("acme", POLICIES)
    fed = feed(detector, life(T0 - 6 * HOUR_MS, T0 + HOUR_MS, GUILTY) + fault(30, HALF, HALF + 10 * MINUTE_MS, GUILTY))
    assert fed.halted == {tuple(UPDATE)}
    return detector.snapshot()


def resumed(
    raw: bytes, policies: PolicySet = POLICIES, rings: tuple[str, ...] = ("*",)
) -> tuple[Detector, list[Verdict]]:
    detector = Detector.restore(raw, policies)
    return detector, list(detector.rule(Ruling("resumed", UPDATE, rings)).verdicts)


def states(fed: Fed | list[Verdict]) -> set[str]:
    verdicts = fed.verdicts if isinstance(fed, Fed) else fed
    return {verdict.state for verdict in verdicts if verdict.version == GUILTY.version}


def later(hosts: int = 0) -> list:  # type: ignore[type-arg]
    """Two hours more, in which so many hosts crash."""
    first = T0 + HOUR_MS
    return life(first, first + 2 * HOUR_MS, GUILTY) + fault(hosts, first + HOUR_MS, first + 80 * MINUTE_MS, GUILTY)


def test_old_reports_do_not_halt_again(halted: bytes) -> None:
    """Resumed it stays so, verdict by verdict, while nothing new comes; its evidence is what it was."""
    detector, told = resumed(halted)
    assert states(told) == {"resumed"}
    assert all(verdict.threshold == pytest.approx(verdict.log10_evidence + 6, abs=0.01) for verdict in told)
    assert all("after_resume" in verdict.flags for verdict in told)
    fed = feed(detector, later(), CUT_MS)
    assert (fed.halted, states(fed)) == (set(), {"resumed"})


def test_what_crashes_on_halts_again(halted: bytes) -> None:
    """Once what is new reaches the bar by itself; with a lower bar sooner."""
    detector, _ = resumed(halted)
    fed = feed(detector, later(150), CUT_MS)
    (order,) = fed.halts
    assert order.evidence.log10_evidence >= order.evidence.threshold > 12
    assert "after_resume" in order.evidence.flags
    assert states(fed) == {"resumed", "halted"}
    low, _ = resumed(halted, PolicySet(default=Policy(resumed_bar=1.0)))
    sooner = feed(low, later(150), CUT_MS)
    assert sooner.halts[0].evidence.crashed_hosts < order.evidence.crashed_hosts


def test_a_resume_of_one_ring_leaves_the_others_halted(halted: bytes) -> None:
    """And the end of a resume halts all of them."""
    detector, told = resumed(halted, rings=("canary",))
    assert {verdict.ring: verdict.state for verdict in told} == {
        "canary": "resumed",
        "early": "halted",
        "broad": "halted",
    }
    assert states(list(detector.rule(Ruling("lapsed", UPDATE, ("*",))).verdicts)) == {"halted"}
    fed = feed(detector, later(150), CUT_MS)
    assert (fed.halts, states(fed)) == ([], {"halted"})


def test_a_forced_update_is_halted_and_still_compared() -> None:
    """In the rings that were named; nobody is told that it is to blame, and a resume lifts it."""
    detector = Detector("acme", POLICIES)
    feed(detector, life(T0 - 6 * HOUR_MS, T0 + HOUR_MS, GUILTY))
    told = detector.rule(Ruling("forced", UPDATE, ("canary",))).verdicts
    assert {verdict.ring: verdict.state for verdict in told}["canary"] == "halted"
    assert {verdict.ring: verdict.state for verdict in told}["broad"] != "halted"
    assert not detector.state.standing.halted
    detector.rule(Ruling("forced", UPDATE, ("*",)))
    fed = feed(detector, later(), CUT_MS)
    assert (fed.halts, states(fed)) == ([], {"halted"})
    assert states(list(detector.rule(Ruling("resumed", UPDATE, ("*",))).verdicts)) == {"resumed"}


def test_what_waits_is_kept_with_its_evidence() -> None:
    """The order as it was decided, until a person releases it; also over a restart."""
    policies = PolicySet(default=Policy(max_halts_per_hour=0))
    detector = Detector("acme", policies)
    fed = feed(detector, life(T0 - 6 * HOUR_MS, T0 + HOUR_MS, GUILTY) + fault(14, HALF, HALF + 10 * MINUTE_MS, GUILTY))
    (order,) = fed.halts
    again = Detector.restore(detector.snapshot(), policies)
    assert detector.stance(UPDATE).waiting == again.stance(UPDATE).waiting == order
    assert states(list(again.rule(Ruling("released", UPDATE, ("*",))).verdicts)) == {"halted"}
    assert again.stance(UPDATE).waiting is None


def test_a_ruling_is_the_same_after_a_restart(halted: bytes) -> None:
    """At the same place among the partials: same verdicts, same state, same decisions from there on."""
    one, _ = resumed(halted)
    feed(one, later(150), CUT_MS)
    two = Detector.restore(halted, POLICIES)
    two = Detector.restore(two.snapshot(), POLICIES)
    two.rule(Ruling("resumed", UPDATE, ("*",)))
    two = Detector.restore(two.snapshot(), POLICIES)
    feed(two, later(150), CUT_MS)
    assert one.snapshot() == two.snapshot()


def test_what_nobody_has_is_not_judged(halted: bytes) -> None:
    """A ruling on a version that no host has reported changes nothing; another version starts clean."""
    detector = Detector.restore(halted, POLICIES)
    before = detector.snapshot()
    assert detector.rule(Ruling("forced", UPDATE._replace(version="999"), ("*",))).verdicts == ()
    detector.stance(UPDATE._replace(version="999"))
    detector.stance(UPDATE)
    assert detector.snapshot() == before
