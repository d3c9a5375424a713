"""A small fleet for tests of the detector: events through the real fold, cut where a test wants it."""

import random
from collections.abc import Iterable, Sequence

from pipeline.decide.detector import Detector
from pipeline.decide.orders import HaltOrder
from pipeline.wire.events import AnyEvent, Boot, Crash, Heartbeat, Signature, Update
from pipeline.wire.spans import HOUR_MS, MINUTE_MS
from pipeline.wire.verdicts import FleetAlarm, Verdict
from support.folding import partials_all

T0 = 1_721_361_600_000  # when the update under test begins; hours and buckets begin there too
HOSTS = 3_000
RINGS = ("canary", "early", "broad", "broad")
CHROME = Update("google", "chrome", "126", T0 - 2 * HOUR_MS)
GUILTY = Update("crowdstrike", "falcon-content", "291", T0)
KERNEL_FAULT = Signature("0x50", "csagent.sys")
ORDINARY = Signature("0x1a", "memory.sys")


def ring_of(host: int) -> str:
    """Independent of what is installed."""
    return RINGS[host * 2_654_435_761 // 4_096 % 4]


def installed(host: int, ts: int, update: Update | None, share: int) -> tuple[Update, ...]:
    """Every other host has the browser; every `share`-th one gets the update at T0."""
    have = [CHROME] if host % 2 and ts >= CHROME.installed_at else []
    if update is not None and host % share == 0 and ts >= update.installed_at:
        have.append(update)
    return tuple(have)


def heartbeat(host: int, ts: int, updates: tuple[Update, ...]) -> Heartbeat:
    """A sign of life; a host's ring and model never change."""
    name, ring, model = f"h{host}", ring_of(host), f"model-{host % 3}"
    common = {"v": 1, "id": f"{host}-{ts}", "fleet": "acme", "host": name, "ring": ring, "os": "os", "model": model}
    return Heartbeat(**common, site=f"site-{host % 40}", ts=ts, updates=updates)


def crash(host: int, ts: int, updates: tuple[Update, ...], signature: Signature) -> Crash:
    """A crash, reported at once."""
    name, ring, model = f"h{host}", ring_of(host), f"model-{host % 3}"
    common = {"v": 1, "id": f"{host}-{ts}", "fleet": "acme", "host": name, "ring": ring, "os": "os", "model": model}
    return Crash(**common, site=f"site-{host % 40}", ts=ts, updates=updates, signature=signature)


def boot_after(event: AnyEvent, ts: int, ended_at: int | None = None) -> Boot:
    """The boot that reports this crash in its own way."""
    same = {
        name: getattr(event, name) for name in ("v", "id", "fleet", "host", "ring", "os", "model", "site", "updates")
    }
    return Boot(**same, ts=ts, prior="crash", prior_ended_at=ended_at)


def life(from_ms: int, to_ms: int, update: Update | None = None, share: int = 10) -> list[AnyEvent]:
    """Every host's hourly heartbeat, and some twelve ordinary crashes an hour on hosts at random."""
    draw = random.Random(from_ms)
    events: list[AnyEvent] = []
    for host in range(HOSTS):
        phase = host * 1_201 * 997 % HOUR_MS
        first = from_ms + (phase - from_ms) % HOUR_MS
        events += [heartbeat(host, ts, installed(host, ts, update, share)) for ts in range(first, to_ms, HOUR_MS)]
    for _ in range(round((to_ms - from_ms) / HOUR_MS * 12)):
        host, ts = draw.randrange(HOSTS), draw.randrange(from_ms, to_ms)
        events.append(crash(host, ts, installed(host, ts, update, share), ORDINARY))
    return events


def fault(hosts: int, from_ms: int, to_ms: int, update: Update, share: int = 10) -> list[AnyEvent]:
    """So many of the update's hosts crash, evenly over the time."""
    step = (to_ms - from_ms) // max(hosts, 1)
    return [
        crash(share * n, at, installed(share * n, at, update, share), KERNEL_FAULT)
        for n in range(hosts)
        for at in [from_ms + n * step]
    ]


class Fed:
    """What a detector said to a stream of events."""

    def __init__(
        self, halts: Sequence[HaltOrder], verdicts: Sequence[Verdict], alarms: Sequence[FleetAlarm] = ()
    ) -> None:
        self.halts = list(halts)
        self.verdicts = list(verdicts)
        self.alarms = list(alarms)

    @property
    def halted(self) -> set[tuple[str, str, str]]:
        return {(h.vendor, h.product, h.version) for h in self.halts}

    def evidence(self, update: Update) -> float:
        """log10, as last told."""
        return [v.log10_evidence for v in self.verdicts if v.version == update.version][-1]


def feed(detector: Detector, events: Iterable[AnyEvent], cut_ms: int | None = None) -> Fed:
    """Events in the order of their time, a partial for each `cut_ms` of it. Without one, for each ten seconds, and
    before T0 for each minute: nothing happens there yet, and it was most of what a test took."""
    halts: list[HaltOrder] = []
    verdicts: list[Verdict] = []
    alarms: list[FleetAlarm] = []
    batches: dict[int, list[AnyEvent]] = {}
    for event in sorted(events, key=lambda e: e.ts):
        width_ms = cut_ms or (10_000 if event.ts >= T0 else MINUTE_MS)
        batches.setdefault(event.ts - event.ts % width_ms, []).append(event)
    for batch in batches.values():
        for partial in partials_all(batch, batch[-1].ts):
            decisions = detector.step(partial)
            halts += decisions.halts
            verdicts += decisions.verdicts
            alarms += [decisions.alarm] if decisions.alarm else []
    return Fed(halts, verdicts, alarms)
