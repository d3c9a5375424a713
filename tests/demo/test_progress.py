"""How far a story has come, and how long it may last."""

from datetime import UTC, datetime

from pipeline.demo.progress import HARMLESS_EVENTS, Leg, Progress, events_a_second, hosts_of_harmless
from pipeline.simulate import scenario as scenarios

START = round(datetime(2024, 6, 3, tzinfo=UTC).timestamp() * 1000)


class Clock:
    """Says what it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_date_and_the_time_left_are_told() -> None:
    """Every five seconds, over legs of different speed; a machine that is slower than was meant has more left."""
    clock = Clock()
    shift = 86_400_000
    began = START + shift
    progress = Progress([Leg(began + 600_000, 60.0), Leg(began + 3_600_000, 300.0)], began, clock)
    assert progress.left_seconds(began) == 20.0
    assert progress.line(began, shift) is None
    clock.now = 5.0
    assert progress.line(began + 300_000, shift) == "2024-06-03 00:05 UTC, 0 min 15 s left"
    clock.now = 9.9
    assert progress.line(began + 310_000, shift) is None
    clock.now = 20.0
    assert progress.line(began + 600_000, shift) == "2024-06-03 00:10 UTC, 0 min 20 s left"


def test_a_week_without_a_fault_is_short_enough_to_wait_for() -> None:
    """By default so many hosts report that two minutes suffice; a fleet that is small enough stays as it is."""
    week = scenarios.load("quiet-week", 40_000)
    hosts = hosts_of_harmless(week, 40_000)
    fewer = scenarios.load("quiet-week", hosts)
    seconds = (scenarios.unix_ms(fewer.ends) - scenarios.unix_ms(fewer.starts)) / 1000
    assert 1_000 < hosts < 40_000
    assert events_a_second(fewer) * seconds <= 1.01 * HARMLESS_EVENTS
    assert hosts_of_harmless(week, 500) == 500
