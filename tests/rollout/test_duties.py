"""What is handed over, and what is done with: pure."""

from consumers.rollout.duties import Duties, Pace
from consumers.rollout.orders import Order

KEY = "acme/v/p/1"
PACE = Pace(doubt_seconds=2.0)


def order(epoch: int = 1, doubt: str = "") -> Order:
    """Stop the update in every ring."""
    return Order(
        action="halt", fleet="acme", vendor="v", product="p", version="1", rings=("*",), epoch=epoch, key=KEY,
        reason="5 hosts crashed", doubt=doubt,
    )  # fmt: skip


def obeyed(duties: Duties, now: float) -> list[Order]:
    """What was handed over at this time, each confirmed."""
    given = list(duties.due(now, 10))
    for each in given:
        duties.returned(each, "confirmed", "", now)
    return given


def test_what_was_obeyed_in_doubt_settles_nothing() -> None:
    """A forged record is obeyed as a halt of epoch 1, the first that a real one can have: that one is handed over."""
    duties = Duties(PACE)
    duties.hold({KEY: (order(doubt="unknown_key"),)}, 0.0)
    assert obeyed(duties, 1.9) == []  # the correlator may put it right
    assert len(obeyed(duties, 2.0)) == 1
    duties.hold({KEY: ()}, 3.0)
    duties.hold({KEY: (order(),)}, 4.0)
    assert [each.doubt for each in obeyed(duties, 4.0)] == [""]


def test_what_is_confirmed_is_done_with() -> None:
    """Whatever becomes of it meanwhile, this epoch is not handed over again; the next one is."""
    duties = Duties(PACE)
    for now, epoch, times in ((0.0, 1, 1), (70.0, 1, 0), (80.0, 2, 1)):
        duties.hold({KEY: ()}, now)
        duties.hold({KEY: (order(epoch),)}, now)
        assert len(obeyed(duties, now)) == times
