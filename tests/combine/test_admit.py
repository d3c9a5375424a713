"""At most one clean trial per host, kind and hour; what is forgotten may count again, a first trial always counts."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.combine.admit import Admission
from pipeline.combine.hashing import hash_names
from pipeline.wire.spans import HOUR_MS

HOUR = 490_000


def admit(admission: Admission, *trials: tuple[str, int]) -> list[bool]:
    """Which of the (host, hour) count."""
    keys = hash_names([host for host, _ in trials])
    result: list[bool] = admission.admit(keys, np.array([hour * HOUR_MS + 5 for _, hour in trials])).tolist()
    return result


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(HOUR, HOUR + 30)), max_size=40), st.data())
def test_batches_admitted_in_turn_are_batches_admitted_alone(
    given_trials: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Whichever hosts want one set, and whatever the clocks of some say."""
    ends = sorted({*data.draw(st.lists(st.integers(0, len(given_trials)), max_size=4)), len(given_trials)})
    keys, times_ms = hash_names([host for host, _ in given_trials]), np.array([h * HOUR_MS for _, h in given_trials])
    alone, in_turn = Admission(4), Admission(4)
    found = in_turn.admit_in_turn(keys, times_ms.astype(np.int64), ends).tolist()
    assert found == [
        counts for start, end in pairwise([0, *ends]) for counts in alone.admit(keys[start:end], times_ms[start:end])
    ]


trials = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(HOUR, HOUR + 7)), max_size=40)


@settings(deadline=None)
@given(trials, st.integers(0, 40))
def test_each_host_and_hour_counts_once(given_trials: list[tuple[str, int]], cut: int) -> None:
    """In any order within eight hours, in one call or two, exactly the first of each host and hour counts."""
    admission = Admission(1 << 12)
    counted = admit(admission, *given_trials[:cut]) + admit(admission, *given_trials[cut:])
    first = [trial not in given_trials[:n] for n, trial in enumerate(given_trials)]
    assert counted == first


@settings(deadline=None)
@given(trials, trials)
def test_rollback_returns_to_the_last_commit(kept: list[tuple[str, int]], aborted: list[tuple[str, int]]) -> None:
    """What an aborted batch admitted is admitted again when it is read again."""
    admission = Admission(1 << 12)
    admit(admission, *kept)
    admission.commit()
    once = admit(admission, *aborted)
    admission.rollback()
    assert admit(admission, *aborted) == once


def test_a_full_table_forgets_and_never_refuses_a_first_trial() -> None:
    """With far more hosts than entries every first trial counts."""
    admission = Admission(1 << 6)
    assert all(admit(admission, *((f"h{n}", HOUR) for n in range(10_000))))


def test_a_million_hosts_hardly_collide() -> None:
    """With the default table and a million hosts, at most 3 % are forgotten within the hour."""
    admission = Admission()
    hosts = [(f"h-{n:07d}", HOUR) for n in range(1_000_000)]
    again = 0
    for start in range(0, len(hosts), 50_000):
        assert all(admit(admission, *hosts[start : start + 50_000]))
    for start in range(0, len(hosts), 50_000):
        again += sum(admit(admission, *hosts[start : start + 50_000]))
    assert again < 30_000


def test_names_crafted_into_one_set_do_not_hold_up_the_stream() -> None:
    """Thousands of hosts in one set are decided in bounded rounds: all count."""
    keys = (np.arange(1, 20_001, dtype=np.uint64) << np.uint64(25)) | np.uint64(5)
    assert Admission(1 << 12).admit(keys, np.full(20_000, HOUR * HOUR_MS)).all()


def test_the_hash_of_a_name_stands_alone() -> None:
    """A name's hash does not depend on its neighbours in the batch, nor on the process."""
    names = ["h-1", "hôte", "a-name-of-more-than-sixteen-characters", "h-1"]
    together = hash_names(names).tolist()
    assert together == [int(hash_names([name])[0]) for name in names]
    assert int(hash_names(["h-000123"])[0]) == int(hash_names(["h-000123"])[0])
    assert len({int(h) for h in hash_names([f"h-{n:06d}" for n in range(50_000)])}) == 50_000


def test_the_hash_is_even() -> None:
    """Consecutive names spread evenly: each sixteenth of the range gets its share."""
    shares = np.bincount((hash_names([f"h-{n:06d}" for n in range(160_000)]) >> np.uint64(60)).astype(int))
    assert abs(shares - 10_000).max() < 500
