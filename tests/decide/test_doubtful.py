"""A halt never blinds: one that later evidence speaks against is flagged, the better culprit named and halted."""

from support.decide_world import KERNEL_FAULT, ORDINARY, T0, Fed, crash, feed, heartbeat

from pipeline.decide.detector import Detector
from pipeline.decide.policy import load_policies
from pipeline.wire.events import AnyEvent, Update
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

HALTED = Update("first", "driver", "1", T0)
OTHER = Update("second", "content", "2", T0)
LATER = Update("second", "content", "2", T0 + 30 * MINUTE_MS)
HOSTS = 1_000
# The first is halted upon little, as an impatient policy would have it.
IMPATIENT = '[[update]]\nvendor = "first"\nalpha = 0.1\n'


def story(both: range, crashed: list[tuple[range, int]], other: Update = OTHER, alone: int = 5) -> Fed:
    """Of hosts by their last digit: those in `both` have the two, the one `alone` has only the other, 0 to 3 only the
    first where they are not in `both`. Of each group of last digits so many hosts crash, evenly over an hour."""
    detector = Detector("acme", load_policies("[default]\n" + IMPATIENT))

    def has(host: int, ts: int) -> tuple[Update, ...]:
        digit = host % 10
        found = ((HALTED, digit in both or digit < 4), (other, digit in both or digit == alone))
        return tuple(update for update, has in found if has and update.installed_at <= ts)

    events: list[AnyEvent] = [
        heartbeat(host, ts, has(host, ts))
        for host in range(HOSTS)
        for ts in range(T0 - 2 * HOUR_MS + host * 1_800, T0 + 2 * HOUR_MS, HOUR_MS // 2)
    ]
    events += [
        crash(host, ts, has(host, ts), ORDINARY)
        for n in range(40)
        for host, ts in [(n * 73 % HOSTS, T0 - HOUR_MS + n * 4 * MINUTE_MS)]
    ]
    for number, (digits, hosts) in enumerate(crashed):
        chosen = [host for host in range(HOSTS) if host % 10 in digits][:hosts]
        start = other.installed_at + (5 + 40 * number) * MINUTE_MS
        events += [
            crash(host, ts, has(host, ts), KERNEL_FAULT)
            for n, host in enumerate(chosen)
            for ts in [start + n * 35 * MINUTE_MS // hosts]
        ]
    return feed(detector, events, 30_000)


def flags(fed: Fed, update: Update) -> tuple[str, ...]:
    """Of its newest verdict."""
    return next(v.flags for v in reversed(fed.verdicts) if v.vendor == update.vendor)


def doubted_for(fed: Fed, update: Update) -> tuple[str, ...]:
    """Of its newest verdict."""
    return next(v.doubted_for for v in reversed(fed.verdicts) if v.vendor == update.vendor)


def test_a_halt_that_later_evidence_speaks_against_is_doubtful() -> None:
    """Hosts with both crash and the first is halted; then those crash that have only the other: it is named in the
    halted one's verdict, and halted by itself."""
    fed = story(range(4), [(range(4), 12), (range(5, 6), 80)])
    assert [halt.vendor for halt in fed.halts] == ["first", "second"]
    assert "doubtful" in flags(fed, HALTED)
    assert "doubtful" not in flags(fed, OTHER)
    assert doubted_for(fed, HALTED) == ("second/content/2",)
    assert doubted_for(fed, OTHER) == ()


def test_a_halt_that_later_evidence_confirms_is_not() -> None:
    """The same start; then those crash that have only the first: nobody doubts it, nobody else is halted."""
    fed = story(range(1), [(range(1), 12), (range(1, 2), 80)])
    assert [halt.vendor for halt in fed.halts] == ["first"]
    assert "doubtful" not in flags(fed, HALTED)
    assert doubted_for(fed, HALTED) == ()


def test_what_comes_on_hosts_of_a_halted_update_only_is_compared_with_how_that_explains_them() -> None:
    """Nobody has the other without the first, which was halted upon little and hurts nobody: on its hosts those crash
    that have the other, too."""
    fed = story(range(1), [(range(4), 6), (range(1), 80)], LATER, alone=-1)
    assert [halt.vendor for halt in fed.halts] == ["first", "second"]
    assert "doubtful" in flags(fed, HALTED)
    assert doubted_for(fed, HALTED) == ("second/content/2",)


def test_what_a_halted_update_explains_is_nobody_elses_fault() -> None:
    """The same, but all of the first's hosts crash alike: the other is not halted, and the halt is not in doubt."""
    fed = story(range(1), [(range(4), 6), (range(4), 320)], LATER, alone=-1)
    assert [halt.vendor for halt in fed.halts] == ["first"]
    assert "doubtful" not in flags(fed, HALTED)
