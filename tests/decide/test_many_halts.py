"""Many updates at once: what is halted already must not shield what comes next, nor make the innocent look guilty."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
from support.folding import partials_all

from pipeline.decide.book import SIGNATURE_PLACES, EvidenceBook, Start
from pipeline.decide.buckets import Bucket, crash_columns
from pipeline.decide.conditional import among_remaining, share_factor
from pipeline.decide.detector import Detector
from pipeline.decide.policy import Policy, PolicySet
from pipeline.wire.events import AnyEvent, Crash, Heartbeat, Signature, Update
from pipeline.wire.spans import HOUR_MS

T = 1_721_361_600_000
HOSTS, UPDATES, GUILTY = 24_000, 80, 24
ALWAYS = np.ones(1, dtype=np.bool_)
ONLY = np.zeros(1, dtype=np.int64)


def start(_: int) -> Start:
    """Nothing is known of a signature."""
    return Start(0.0, np.zeros(8), np.zeros(8))


def report(host: int, ts: int, signature: str = "") -> AnyEvent:
    """Each host has one of the updates on trial; a crash when there is a signature."""
    update = Update("acme", f"agent-{host % UPDATES}", "2", T - HOUR_MS)
    common = {"v": 1, "id": f"{host}-{ts}", "fleet": "many", "host": f"h{host}", "ring": "r", "os": "o"}
    rest = {"model": f"m{host % 7}", "site": f"s{host % 999}", "ts": ts, "updates": (update,)}
    if signature:
        return Crash(**common, **rest, signature=Signature(signature, "x.sys"))  # type: ignore[arg-type]
    return Heartbeat(**common, **rest)  # type: ignore[arg-type]


class World:
    """A fleet whose updates turn bad one after the other; a partial a second."""

    def __init__(self) -> None:
        self.detector = Detector("many", PolicySet(default=Policy(max_halts_per_hour=1_000)))
        self.now, self.beats = T, 0

    def second(self, *crashes: tuple[int, str]) -> list[str]:
        """Products halted in a second in which these hosts crash."""
        events = [report((self.beats + n) * 7_919 % HOSTS, self.now + n // 2) for n in range(400)]
        events += [report(host, self.now + 900, signature) for host, signature in crashes]
        self.beats, self.now = self.beats + 400, self.now + 1_000
        partials = partials_all(events, self.now, self.now)
        return [h.product for p in partials for h in self.detector.step(p).halts]


def crashes_to_halt(world: World, trial: int) -> Iterator[int]:
    """How many hosts of this update crash until it is halted; nothing when it never is."""
    for number in range(1, 41):
        halted = world.second((trial + UPDATES * (11 * number % 300), f"0xbad{trial}"))
        assert halted in ([], [f"agent-{trial}"])
        if halted:
            yield number
            return


def test_each_guilty_update_is_found_as_fast_as_the_first() -> None:
    """Twenty-four in a few minutes, each with a signature of its own: none needs twice the crashes of the first."""
    world = World()
    for _ in range(90):
        world.second()
    needed = [next(crashes_to_halt(world, trial)) for trial in range(GUILTY)]
    assert max(needed) <= 2 * needed[0]
    assert needed[0] <= 8


@pytest.mark.parametrize(
    ("halted_share", "chance"),  # that a host has the halted update; the same if it has the other one
    [(0.05, 0.0), (0.05, 0.05), (0.3, 0.0), (0.3, 0.3), (0.3, 1.0), (0.7, 0.0), (0.7, 0.7), (0.7, 1.0)],
)
def test_the_share_among_the_remaining_is_an_upper_limit(halted_share: float, chance: float) -> None:
    """Sampled hosts tell how the share differs: at least the truth in nearly every sample, and of its order."""
    rng = np.random.default_rng(7)
    with_update = 0.2
    rest = (halted_share - with_update * chance) / (1 - with_update)
    truth = with_update * (1 - chance) / (1 - halted_share)
    found = []
    for _ in range(300):
        has = rng.random(144) < with_update
        halted = rng.random(144) < np.where(has, chance, rest)
        counts = [np.array([float(n)]) for n in (144, (~halted).sum())]
        by_update = [np.array([[float(n)]]) for n in (has.sum(), (has & ~halted).sum())]
        factor = share_factor(*counts, *by_update, np.array([1.0]))
        share = np.array([[with_update]])
        found.append(float(among_remaining(share, factor, np.array([False]))[0, 0]))
    assert np.mean(np.array(found) >= truth - 1e-9) > 0.8
    assert np.median(found) <= max(1.7 * truth, 0.05 / (1 - halted_share))


def test_where_nobody_may_remain_nothing_is_evidence() -> None:
    """Counts say that all have the halted update, however old samples look: a share of 1, which no crash can exceed."""
    one = np.array([100.0])
    factor = share_factor(one, one, one[None], one[None], np.array([0.0]))
    assert among_remaining(np.array([[0.01]]), factor, np.array([False])) == 1.0
    assert among_remaining(np.array([[0.01]]), factor, np.array([True])) == 0.01


def test_a_signature_takes_a_place_by_a_hit_once_the_first_are_taken() -> None:
    """A quarter of the places goes to what appears; then a hit is needed, and says at once whose it was."""
    book = EvidenceBook()
    quarter = SIGNATURE_PLACES // 4
    for signature in range(quarter + 1):
        book.assign(signature, ALWAYS, ONLY, start)
    assert (book.slots[0] >= 0).sum() == quarter
    assert book.assign_hit(0, ALWAYS, ONLY, start).tolist() == []
    for signature in range(quarter, 2 * quarter):
        assert book.assign_hit(signature, ALWAYS, ONLY, start).tolist() == [0]
        assert book.assign_hit(signature, ALWAYS, ONLY, start).tolist() == []
    assert book.assign_hit(99, ALWAYS, ONLY, start).tolist() == []
    assert book.assign_hit(99, ~ALWAYS, ONLY, start).tolist() == [0]


@pytest.mark.parametrize("share", [0.005, 0.01, 0.02])
def test_a_place_taken_by_a_hit_is_still_a_fair_bet(share: float) -> None:
    """Were the crash that earns the place evidence too, the mean over null worlds would be 1.1 to 1.3, beyond doubt.

    Larger shares say nothing here: tails are so heavy that a broken mean looks like an intact one.
    """
    draw = random.Random(11)
    values = []
    for _ in range(750):
        book, bucket = EvidenceBook(), Bucket()
        book.active[0, 0] = True
        for signature in range(SIGNATURE_PLACES // 4):
            book.assign(signature, ALWAYS, ONLY, start)
        for _ in range(30):
            signature, hit = draw.choice((50, 51, 52)), draw.random() < share
            given = book.assign_hit(signature, ALWAYS, ONLY, start).tolist() if hit else []
            bucket.signature(signature).add(0, (0,) if hit and not given else (), tuple(given))
        shares = np.full((1, 8), share)
        book.close(crash_columns([bucket]), shares, shares, np.ones(8), np.zeros(8, dtype=np.int64))
        logs = book.signature_log[0, SIGNATURE_PLACES // 4 : SIGNATURE_PLACES // 2]
        values.append(float(np.exp(logs[:3]).mean()))
    mean, error = np.mean(values), np.std(values) / np.sqrt(len(values))
    assert mean <= 1 + 3 * error
    assert mean > 0.9  # they do bet
