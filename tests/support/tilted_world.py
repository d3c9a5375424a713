"""Importance sampling of evidence against the innocent: worlds in which a harmless update looks guilty, weighted.

Evidence of 10^6 against a harmless update comes once in more than a million worlds: too seldom to wait for. So worlds
are drawn in which a crash lands on the update's hosts more often than the worst harmless update explains, evidence is
followed until it halts, and each world counts by its likelihood without that tilt: E0[evidence] = E1[evidence / LR].
For an e-process that mean is at most 1 at any stopping time, which is all that Ville's inequality needs; the same holds
when what a world counts is cut at MOST, which keeps a few lucky worlds from drowning the rest.
"""

from typing import NamedTuple

import numpy as np

from pipeline.decide.detector import Detector
from pipeline.decide.policy import Policy, PolicySet
from pipeline.wire.cells import HEARTBEAT, cell_of
from pipeline.wire.partials import BUCKET_MS, CrashRecord, Partial, Stratum, UpdateId
from pipeline.wire.spans import HOUR_MS, MINUTE_MS

UPDATE = UpdateId("vendor", "innocent", "1")
STRATA = tuple(Stratum(ring, "os", model) for ring in ("canary", "broad") for model in ("a", "b"))
START = 1_700_002_800_000 // BUCKET_MS  # on the hour
HOUR, MINUTE = HOUR_MS // BUCKET_MS, MINUTE_MS // BUCKET_MS  # in buckets
TRIALS = 100_000  # in each stratum and minute: the update's share is known
CRASHES = 6.0  # in a minute
SHARES = (0.05, 0.15, 0.4)
TILTS = np.array([1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0])  # each in as many worlds
MINUTES = 25
HARMLESS_RISK = 1.5  # the worst that the policy tolerates
MOST = 4.0
ERRORS_99 = 2.33  # standard errors of a one-sided 99 % limit


class Mean(NamedTuple):
    """E0 of the evidence, and its one-sided 99 % lower limit."""

    value: float
    lower: float


def mean_evidence(worlds: int) -> Mean:
    """Over so many worlds, of which each is followed until the update halts, or for MINUTES."""
    before = {share: _before(share) for share in SHARES}
    found = np.array([min(_world(before, seed), MOST) for seed in range(worlds)])
    value, error = float(found.mean()), float(found.std(ddof=1) / np.sqrt(worlds))
    return Mean(value, value - ERRORS_99 * error)


def _before(share: float) -> bytes:
    """The snapshot of a detector that has seen two ordinary hours, and one in which the update was rolled out."""
    detector, rng = Detector("tilted", PolicySet()), np.random.default_rng(5)
    for bucket in range(START - 3 * HOUR, START, MINUTE):
        exposed = share if bucket >= START - HOUR else 0.0
        detector.step(_partial(rng, bucket, exposed, 0 if exposed else rng.poisson(CRASHES), 0))
    return detector.snapshot()


def _world(before: dict[float, bytes], seed: int) -> float:
    """Evidence over likelihood ratio, when it is over."""
    rng = np.random.default_rng([seed, 4711])
    tilt, share = TILTS[seed % len(TILTS)], rng.choice(SHARES)
    detector = Detector.restore(before[share], PolicySet(default=Policy(max_halts_per_hour=0)))
    odds = HARMLESS_RISK * share / (1.0 - share)
    harmless, crashed, hits = odds / (1.0 + odds), 0, 0  # what a crash's chance to hit the update would be
    for minute in range(1, MINUTES + 1):
        crashes = rng.poisson(CRASHES)
        hit = rng.binomial(crashes, tilt * odds / (1.0 + tilt * odds))
        crashed, hits = crashed + crashes, hits + hit
        if detector.step(_partial(rng, START + minute * MINUTE, share, crashes - hit, hit)).halts:
            break
    assert detector.weighed is not None
    log_evidence = float(detector.weighed.explained.total[detector.state.names.updates.get(UPDATE)])
    log_ratios = hits * np.log(TILTS) - crashed * np.log(1.0 - harmless + TILTS * harmless)
    return float(np.exp(log_evidence - np.logaddexp.reduce(log_ratios) + np.log(len(TILTS))))


def _partial(rng: np.random.Generator, bucket: int, exposed: float, missed: int, hit: int) -> Partial:
    """Clean trials of which `exposed` are, give or take; crashes of so many hosts without the update, and with it."""
    cells = [cell_of(stratum, HEARTBEAT) for stratum in range(len(STRATA))]
    counts = rng.binomial(TRIALS, exposed, len(cells))
    trials = np.array([(bucket, cell, TRIALS) for cell in cells], dtype="<i4")
    listed = np.array([(bucket, cell, 0, n, 0) for cell, n in zip(cells, counts, strict=True) if n], dtype="<i4")
    crashes = tuple(_crash(rng, bucket, number, number < hit) for number in range(hit + missed))
    blobs = trials.tobytes(), listed.tobytes()
    return Partial(
        1, "tilted", "0", len(crashes), 0, 0, bucket * BUCKET_MS, (UPDATE,), STRATA, *blobs, crashes, b"", b"", ()
    )


def _crash(rng: np.random.Generator, bucket: int, number: int, exposed: bool) -> CrashRecord:
    at, host = bucket * BUCKET_MS + int(rng.integers(BUCKET_MS)), f"h{rng.integers(1 << 62)}"
    stratum, code = int(rng.integers(len(STRATA))), f"0x{rng.integers(4)}"
    return CrashRecord(at, host, stratum, code, "m.sys", "", (0,) if exposed else (), (), 0, number)
