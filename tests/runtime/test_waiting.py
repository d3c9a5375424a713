"""Waiting for a condition: what is found, and that the end is the end."""

from pipeline.runtime.waiting import Deadline, wait_for


def test_what_is_found_is_returned() -> None:
    """It looks again until something true comes."""
    looks = iter([None, 0, "", "found", "never seen"])
    assert wait_for(lambda: next(looks), 30, 0) == "found"


def test_the_last_look_comes_after_time_is_up() -> None:
    """A condition that comes true while one sleeps is not missed: with no time at all there still is one look."""
    assert wait_for(lambda: "at once", 0) == "at once"
    assert not wait_for(lambda: False, 0.01, 0.001)


def test_a_deadline_never_has_negative_time_left() -> None:
    """Its rest may be handed to any call that takes a timeout."""
    deadline = Deadline(0)
    assert deadline.has_passed
    assert deadline.left_seconds == 0
    later = Deadline(60)
    assert not later.has_passed
    assert 0 < later.left_seconds <= 60
