"""`andon bench decide`: crashed hosts to a halt, bare core beside MaxSPRT and as shipped; and the time of a step."""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from pipeline.bench.brokers import python
from pipeline.bench.maxsprt import boundary, critical_value, signal_probability
from pipeline.bench.state_plot import picture
from pipeline.decide import evidence as ev
from pipeline.decide.buckets import ARCHIVE_MS, OPEN_BUCKETS
from pipeline.decide.detector import Detector
from pipeline.decide.policy import Policy, PolicySet
from pipeline.decide.samples import ARCHIVED
from pipeline.wire.cells import HEARTBEAT, cell_of
from pipeline.wire.partials import BUCKET_MS, CrashRecord, Partial, SampleRecord, Stratum, UpdateId

RISKS = (2.0, 4.0, 10.0, 50.0)
ALPHAS = (0.05, 0.001)
HORIZON = 50.0  # expected events; long enough for MaxSPRT to find a risk of 2 nearly always
MOST = 1.5  # times MaxSPRT's events, at most
UPDATES, STRATA = 1_000, 64
STEP_SECONDS = {"dense": 0.050, "tenth": 0.010, "dense_closing": 0.050, "tenth_closing": 0.010}
STATE_UPDATES, STATE_STRATA = (8, 32, 128, 512, 2_048), (8, 32, 59)  # 59 is as many as are kept with one ring
FIRST_BUCKET = 170_000_000


def core_limits(alpha: float, most: int = 400) -> ev.Floats:
    """For each count the largest expected count at which the e-process (rho 1, known baseline) reaches 1/alpha."""
    counts = np.arange(1, most + 1, dtype=np.float64)
    low, high = np.full(most, 1e-12), counts.copy()
    for _ in range(60):
        middle = (low + high) / 2
        reached = ev.log_mixture(ev.poisson_log_increment(counts, middle)) >= -np.log(alpha)
        low, high = np.where(reached, middle, low), np.where(reached, high, middle)
    return np.maximum.accumulate(np.where(low > 1e-11, low, 0.0))


def beside_maxsprt() -> list[dict[str, Any]]:
    """Mean events to a signal, exact: the e-process without horizon, MaxSPRT with one."""
    rows = []
    for alpha in ALPHAS:
        core, rival = core_limits(alpha), boundary(critical_value(alpha, HORIZON), HORIZON)
        for risk in RISKS:
            _, events = signal_probability(core, np.inf, risk)
            power, rival_events = signal_probability(rival, HORIZON, risk)
            rows.append(
                {
                    "alpha": alpha,
                    "relative_risk": risk,
                    "events": round(float(events), 2),
                    "maxsprt_events": round(float(rival_events), 2),
                    "maxsprt_power": round(float(power), 3),
                    "ratio": round(float(events / rival_events), 3),
                }
            )
    return rows


def shipped(risk: float, seed: int, runs: int = 7) -> dict[str, Any]:
    """Crashed hosts to a halt as shipped (alpha 1e-6, rho 1.5), a tenth of a large fleet exposed; median of runs.

    The signatures are those of every day, so nothing but the rate tells the update from a harmless one.
    """
    rng = np.random.default_rng([seed, int(risk)])
    found = [_shipped_run(rng, risk) for _ in range(runs)]
    return {"relative_risk": risk, "crashed_hosts_median": float(np.median(found)), "runs": runs}


def _shipped_run(rng: np.random.Generator, risk: float) -> int:
    detector = Detector("bench", PolicySet())
    share, baseline = 0.1, 4.0  # exposed share; crashes in a bucket of the unexposed fleet
    for bucket in range(FIRST_BUCKET, FIRST_BUCKET + 100_000):
        exposed = rng.poisson(baseline * share * risk)
        control = rng.poisson(baseline * (1 - share))
        crashes = [_crash(rng, bucket, i, i < exposed) for i in range(exposed + control)]
        trials = np.array([(bucket, 1, 10_000)], dtype="<i4")
        exposures = np.array([(bucket, 1, 0, 1_000, 0)], dtype="<i4")
        partial = _partial((UpdateId("v", "p", "1"),), (Stratum("r", "o", "m"),), bucket, trials, exposures, crashes)
        for order in detector.step(partial).halts:
            return order.evidence.crashed_hosts
    return sys.maxsize


def _crash(rng: np.random.Generator, bucket: int, offset: int, exposed: bool, stratum: int = 0) -> CrashRecord:
    host, signature = f"h{rng.integers(1 << 62)}", rng.integers(4)
    at = bucket * BUCKET_MS + int(rng.integers(BUCKET_MS))
    return CrashRecord(at, host, stratum, f"0x{signature}", "m.sys", "", (0,) if exposed else (), (), 0, offset)


def _partial(
    updates: tuple[UpdateId, ...],
    strata: tuple[Stratum, ...],
    bucket: int,
    trials: "np.ndarray[Any, Any]",
    exposures: "np.ndarray[Any, Any]",
    crashes: list[CrashRecord],
    samples: tuple[SampleRecord, ...] = (),
) -> Partial:
    blobs = trials.tobytes(), exposures.tobytes()
    at = bucket * BUCKET_MS
    return Partial(1, "bench", "0", len(crashes), 0, 0, at, updates, strata, *blobs, tuple(crashes), b"", b"", samples)


def step_seconds(touched: int, seed: int, closing: bool = False, steps: int = 30) -> dict[str, Any]:
    """Seconds of CPU for a step that touches so many of 64 strata, each with all of 1,000 live updates; `closing` when
    each step moves stream time on, which is once in 10 s, and so enters a bucket for good."""
    rng = np.random.default_rng([seed, touched])
    detector = Detector("bench", PolicySet(default=Policy(max_halts_per_hour=0)))
    cells = range(STRATA), range(touched)
    detector.step(_dense(rng, FIRST_BUCKET, cells[0], 0))
    for bucket in range(1, OPEN_BUCKETS + 1 if closing else OPEN_BUCKETS):
        detector.step(_dense(rng, FIRST_BUCKET + bucket, cells[1], touched if closing else touched // 4))
    taken = []
    for step in range(steps):
        partial = _dense(rng, FIRST_BUCKET + (OPEN_BUCKETS + 1 + step if closing else OPEN_BUCKETS), cells[1], touched)
        began = time.process_time()
        detector.step(partial)
        taken.append(time.process_time() - began)
    return {
        "cells": touched * UPDATES,
        "p50_seconds": round(float(np.median(taken)), 5),
        "p99_seconds": round(float(np.quantile(taken, 0.99)), 5),
    }


def state_bytes(updates: int, strata: int, seed: int) -> dict[str, Any]:
    """Bytes of a fleet's state with so many live updates, each on hosts of all strata, after four hours: as much as it
    keeps of the past."""
    rng, detector = np.random.default_rng(seed), Detector("bench", PolicySet())
    for ten_minutes in range(ARCHIVED + 1):
        bucket = FIRST_BUCKET + ten_minutes * ARCHIVE_MS // BUCKET_MS
        detector.step(_dense(rng, bucket, range(strata if not ten_minutes else 1), 4, updates))
    size = len(detector.snapshot())
    return {"updates": updates, "strata": strata, "bytes": size, "bytes_per_update": round(size / updates)}


def _dense(rng: np.random.Generator, bucket: int, strata: range, crashes: int, many: int = UPDATES) -> Partial:
    updates = tuple(UpdateId("v", f"p{i}", "1") for i in range(many))
    names = tuple(Stratum(f"r{i % 4}", f"o{i // 4 % 2}", f"m{i // 8}") for i in range(STRATA))[: max(strata) + 1]
    trials = np.array([(bucket, cell_of(s, HEARTBEAT), 400) for s in strata], dtype="<i4")
    grid = np.array([(bucket, cell_of(s, HEARTBEAT), u, 0, 0) for s in strata for u in range(many)], dtype="<i4")
    grid[:, 3] = rng.integers(1, 60, len(grid))
    records = []
    for i in range(crashes):
        plain = _crash(rng, bucket, i, False, int(rng.choice(list(strata))))
        exposed = tuple(int(u) for u in rng.choice(many, 2, replace=False))
        records.append(CrashRecord(plain.at, plain.host, plain.stratum, plain.code, "m", "", exposed, (), 0, i))
    return _partial(updates, names, bucket, trials, grid, records)


@click.command("decide")
@click.option("--seed", default=1, show_default=True, help="Seed of the simulated part.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write how large states are as a picture, SVG.")
def command(seed: int, as_json: bool, plot: Path | None) -> None:
    """Crashed hosts to a halt beside MaxSPRT, and the time of a step with 1,000 updates in 64 strata."""
    rows = beside_maxsprt()
    sizes = {"dense": STRATA, "tenth": STRATA // 10}
    steps = {name: step_seconds(size, seed) for name, size in sizes.items()}
    steps |= {f"{name}_closing": step_seconds(size, seed, closing=True) for name, size in sizes.items()}
    result = {
        "core": rows,
        "largest_ratio": max(row["ratio"] for row in rows),
        "maxsprt_horizon": HORIZON,
        "shipped": [shipped(risk, seed) for risk in RISKS],
        "step": steps,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "state": [state_bytes(updates, strata, seed) for strata in STATE_STRATA for updates in STATE_UPDATES],
        "on": {
            **python(),
            "numpy": np.__version__,
            "cpus": os.cpu_count(),
            "updates": UPDATES,
            "strata": STRATA,
            "bets": len(ev.THETA),
            "seed": seed,
        },
    }
    if plot is not None:
        plot.write_text(picture(result["state"]), "utf-8")
    if as_json:
        click.echo(json.dumps(result))
    else:
        _print(result)
    if result["largest_ratio"] > MOST:
        sys.exit(1)


def _print_state(row: dict[str, Any]) -> None:
    """A line of the table of states."""
    size, each = row["bytes"], row["bytes_per_update"] / 1e3
    click.echo(f"state of {row['updates']:>5} updates in {row['strata']:>2} strata: {size:>12,} B, {each:.1f} kB each")


def _print(result: dict[str, Any]) -> None:
    click.echo("alpha   relative risk   events to a signal   MaxSPRT   ratio")
    for row in result["core"]:
        figures = f"{row['events']:>18} {row['maxsprt_events']:>9} {row['ratio']:>7}"
        click.echo(f"{row['alpha']:<7} {row['relative_risk']:>13} {figures}")
    for row in result["shipped"]:
        click.echo(f"as shipped, relative risk {row['relative_risk']:g}: {row['crashed_hosts_median']:g} crashed hosts")
    for row in result["state"]:
        _print_state(row)
    for name, row in result["step"].items():
        middle, most, goal = (seconds * 1e3 for seconds in (row["p50_seconds"], row["p99_seconds"], STEP_SECONDS[name]))
        click.echo(f"step, {name}: {middle:.1f} ms in the middle, p99 {most:.1f} (goal {goal:g} ms)")
