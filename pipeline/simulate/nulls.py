"""Small fleets full of harmless rollouts, for calibration: how often does evidence against the innocent arise? Pure.

Each fleet has several rollouts of many shapes at once. Half of the harmless ones raise the crash rate by exactly the
tolerated factor, the worst that still counts as harmless. Crashes drift with the day, shocks hit everyone, reports come
late, hosts are silent while they are down. Crashes of different hosts are independent given their rates.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.wire.events import AnyEvent, Boot, Crash, Heartbeat, Signature, Update
from pipeline.wire.partials import UpdateId
from pipeline.wire.spans import DAY_MS, HOUR_MS

START_MS = 1_700_000_000_000
NEVER = np.iinfo(np.int64).max
ROLLOUTS = 48
SHAPES = ("ramp", "slow ramp", "at once", "canary", "one model")
EVERYONE_AT_ONCE = 0.05  # of the rollouts
RINGS, SYSTEMS, MODELS = ("canary", "broad"), ("windows-10", "windows-11"), ("a", "b", "c")
SIGNATURES = tuple(Signature(f"0x{i:02x}", f"m{i}.sys") for i in range(12))

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class NullRollout(NamedTuple):
    """One update version; `installed` (hosts,) in unix ms, NEVER where it never comes; `companion` travels with it."""

    update: UpdateId
    shape: str
    relative_risk: float
    installed: Ints
    companion: int = -1

    @property
    def harmless(self) -> bool:
        """Whether its relative risk is at most the tolerated one."""
        return bool(self.relative_risk <= 1.5)


class NullFleet(NamedTuple):
    """Events in the order in which they are sent, with the time of sending, and the truth about the rollouts."""

    rollouts: tuple[NullRollout, ...]
    sent: Ints
    events: list[AnyEvent]


class _Hosts(NamedTuple):
    ring: Ints
    system: Ints
    model: Ints


def null_fleet(
    seed: int, hosts: int = 900, hours: int = 12, rollouts: int = ROLLOUTS, tolerated_risk: float = 1.5
) -> NullFleet:
    """One fleet; its first three hours are history, then the rollouts begin one after the other."""
    rng = np.random.default_rng([seed, 4711])
    sparse = rng.random() < 0.3  # sparse strata: many models, few hosts each
    models = 12 if sparse else len(MODELS)
    fleet = _Hosts(
        (rng.random(hosts) > 0.1).astype(np.int64), rng.integers(0, 2, hosts), rng.integers(0, models, hosts)
    )
    end = hours * HOUR_MS
    plans: list[NullRollout] = []
    while len(plans) < rollouts:
        plan = _rollout(rng, len(plans), fleet, end, tolerated_risk)
        plans.append(plan._replace(relative_risk=1.0) if _travels_along(plan, plans) else plan)
    if rng.random() < 0.2:
        plans += _guilty_and_companion(rng, len(plans), fleet, end, tolerated_risk)
    rate_per_ms = float(np.exp(rng.uniform(np.log(0.01), np.log(0.25)))) / DAY_MS
    crash_at, crash_host = _crashes(rng, plans, rate_per_ms, hosts, end)
    return _events(rng, fleet, plans, crash_at, crash_host, end)


def _rollout(rng: np.random.Generator, number: int, fleet: _Hosts, end: int, tolerated: float) -> NullRollout:
    shape = "everyone at once" if rng.random() < EVERYONE_AT_ONCE else SHAPES[rng.integers(len(SHAPES))]
    hosts = len(fleet.ring)
    start = rng.uniform(3 * HOUR_MS, end * 0.7)
    share, spread = (
        float(rng.choice([0.05, 0.1, 0.2, 0.5])),
        float(np.exp(rng.uniform(np.log(10), np.log(240)))) * 60_000,
    )
    eligible = np.ones(hosts, dtype=np.bool_)
    if shape == "slow ramp":
        spread = end - start
    elif shape == "at once":
        spread = 90_000.0
    elif shape == "everyone at once":
        share, spread = (1.0, 60_000.0) if rng.random() < 0.5 else (0.95, 300_000.0)
    elif shape == "canary":
        share, eligible = 0.5, fleet.ring == 0
    elif shape == "one model":
        share, eligible = 0.95, fleet.model == rng.integers(fleet.model.max() + 1)
    chosen = eligible & (rng.random(hosts) < share)
    installed = np.where(chosen, (start + rng.random(hosts) * spread).astype(np.int64), NEVER)
    risk = tolerated if number % 4 else rng.choice([0.7, 1.0, 1.2])
    return NullRollout(UpdateId("vendor", f"product-{number}", "1"), shape, float(risk), installed)


def _travels_along(plan: NullRollout, earlier: list[NullRollout]) -> bool:
    """Whether most of its hosts have one of the earlier ones that raise the crash rate: it would look worse than it is.

    What the bound covers is "this update, or one that travels with it", so such a rollout must itself be neutral.
    """
    hosts = plan.installed != NEVER
    shared = [(hosts & (e.installed != NEVER)).sum() for e in earlier if e.relative_risk > 1 and len(e.installed)]
    chosen = [(e.installed != NEVER).mean() for e in earlier if e.relative_risk > 1]
    return any(n / max(hosts.sum(), 1) > share + 0.3 for n, share in zip(shared, chosen, strict=True))


def _guilty_and_companion(
    rng: np.random.Generator, number: int, fleet: _Hosts, end: int, tolerated: float
) -> list[NullRollout]:
    """A guilty update, and a harmless one of which 90 % of the hosts have both."""
    guilty = _rollout(rng, number, fleet, end, tolerated)._replace(relative_risk=float(rng.choice([4.0, 20.0])))
    jitter = rng.integers(-60_000, 60_000, len(guilty.installed))
    alongside = (guilty.installed != NEVER) & (rng.random(len(jitter)) < 0.9)
    alone = (guilty.installed == NEVER) & (rng.random(len(jitter)) < 0.05)
    start = guilty.installed.min()
    when = np.where(alongside, guilty.installed + jitter, np.where(alone, start + np.abs(jitter), NEVER))
    companion = NullRollout(UpdateId("vendor", f"product-{number + 1}", "1"), "companion", 1.0, when, number)
    return [guilty, companion]


def _crashes(
    rng: np.random.Generator, plans: list[NullRollout], rate_per_ms: float, hosts: int, end: int
) -> tuple[Ints, Ints]:
    """Times and hosts of crashes, by thinning; ±30 % over the day, in a quarter of the fleets a shock of ×5."""
    shock_from, shock_to = _shock(rng, end)
    most = np.prod([max(p.relative_risk, 1.0) ** (p.installed != NEVER) for p in plans], axis=0) * 1.3
    most *= 5.0 if shock_to else 1.0
    count = rng.poisson(most * rate_per_ms * end)
    host = np.repeat(np.arange(hosts), count)
    at = rng.integers(0, end, len(host))
    factor = 1.0 + 0.3 * np.sin(2 * np.pi * (at / DAY_MS + rng.random()))
    factor *= np.where((at >= shock_from) & (at < shock_to), 5.0, 1.0)
    for plan in plans:
        factor *= np.where(plan.installed[host] <= at, plan.relative_risk, 1.0)
    kept = rng.random(len(host)) * most[host] < factor
    return at[kept], host[kept]


def _shock(rng: np.random.Generator, end: int) -> tuple[int, int]:
    if rng.random() >= 0.25:
        return 0, 0
    start = int(rng.uniform(4 * HOUR_MS, end * 0.8))
    return start, start + 2 * HOUR_MS


def _events(
    rng: np.random.Generator, fleet: _Hosts, plans: list[NullRollout], crash_at: Ints, crash_host: Ints, end: int
) -> NullFleet:
    hosts = len(fleet.ring)
    maker = _Maker(fleet, plans)
    delay = np.where(rng.random(len(crash_at)) < 0.9, rng.exponential(300_000, len(crash_at)) + 30_000, 3 * HOUR_MS)
    back = crash_at + delay.astype(np.int64)
    name = rng.choice(len(SIGNATURES), len(crash_at), p=_signature_shares())
    rows: list[tuple[int, AnyEvent]] = []
    down: dict[int, list[tuple[int, int]]] = {}
    for at, until, host, signature in zip(crash_at, back, crash_host, name, strict=True):
        down.setdefault(int(host), []).append((int(at), int(until)))
        rows.append((int(until), maker.crash(int(at), int(host), SIGNATURES[signature])))
        rows.append((int(until) + 1, maker.boot(int(until), int(host), int(at))))
    phase = rng.integers(0, HOUR_MS, hosts)
    for host in range(hosts):
        away = down.get(host, [])
        beats = np.arange(int(phase[host]), end, HOUR_MS) + rng.integers(-120_000, 120_000)
        boots = rng.integers(0, end, rng.poisson(0.7 * end / DAY_MS))
        for at, kind in [*((int(b), 1) for b in beats), *((int(b), 0) for b in boots)]:
            if at >= 0 and not any(a <= at < b for a, b in away):
                late = int(rng.exponential(2_000)) if rng.random() < 0.97 else int(rng.exponential(600_000))
                rows.append((at + late, maker.heartbeat(at, host) if kind else maker.boot(at, host, None)))
    rows.sort(key=lambda row: row[0])
    sent = np.array([at for at, _ in rows], dtype=np.int64) + START_MS
    return NullFleet(tuple(plans), sent, [event for _, event in rows])


def _signature_shares() -> Floats:
    weights = 0.6 ** np.arange(len(SIGNATURES))
    shares: Floats = weights / weights.sum()
    return shares


class _Maker:
    """Makes events; a host's update lists are made once for each prefix of its installations."""

    def __init__(self, fleet: _Hosts, plans: list[NullRollout]) -> None:
        self._places = [
            (f"h{i}", RINGS[r], SYSTEMS[s], f"model-{m}") for i, (r, s, m) in enumerate(zip(*fleet, strict=True))
        ]
        installed = np.stack([plan.installed for plan in plans])
        order = np.argsort(installed, axis=0, kind="stable")
        self._times: list[list[int]] = []
        self._lists: list[list[tuple[Update, ...]]] = []
        for host in range(len(fleet.ring)):
            mine = [int(p) for p in order[:, host] if installed[p, host] != NEVER]
            updates = [Update(*plans[p].update, int(installed[p, host]) + START_MS) for p in mine]
            self._times.append([int(installed[p, host]) for p in mine])
            self._lists.append([tuple(updates[:n]) for n in range(len(updates) + 1)])

    def _common(self, at: int, host: int) -> dict[str, object]:
        name, ring, system, model = self._places[host]
        listed = self._lists[host][int(np.searchsorted(self._times[host], at, side="right"))]
        where = {"ring": ring, "os": system, "model": model, "updates": listed}
        return {"v": 1, "id": f"{name}-{at}", "fleet": "null", "host": name, "ts": at + START_MS, **where}

    def heartbeat(self, at: int, host: int) -> Heartbeat:
        return Heartbeat(**self._common(at, host))  # type: ignore[arg-type]

    def crash(self, at: int, host: int, signature: Signature) -> Crash:
        return Crash(**self._common(at, host), signature=signature)  # type: ignore[arg-type]

    def boot(self, at: int, host: int, crashed_at: int | None) -> Boot:
        common = self._common(at, host)
        if crashed_at is None:
            return Boot(**common, prior="clean")  # type: ignore[arg-type]
        return Boot(**common, prior="crash", prior_ended_at=crashed_at + START_MS)  # type: ignore[arg-type]
