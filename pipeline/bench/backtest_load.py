"""A fleet as fleets look: many models, long lists of updates that are replaced every few days, crashes every day.

Written as bytes from pieces that do not change, so that writing a month takes a minute and not an hour.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.wire.spans import DAY_MS, HOUR_MS

START_MS = 1_717_200_000_000
RINGS, SYSTEMS, MODELS = 3, 2, 9  # times each other: 54 strata
VERSION_DAYS, RAMP_DAYS = 9, 3  # a product's next version comes after so long, and takes so long to be everywhere
SIGNATURES = 12


class FleetLoad(NamedTuple):
    """A fleet of `hosts` that beat every `beat_minutes` for so long, list `updates` each, and of whose events
    `crash_share` are crashes of the ordinary kind: nothing in it is guilty."""

    hosts: int
    hours: int
    beat_minutes: int
    updates: int
    crash_share: float
    seed: int


def lines(load: FleetLoad) -> Iterator[bytes]:
    """The fleet's events in order of time, a line each."""
    draw = random.Random(load.seed)
    beat_ms = load.beat_minutes * 60_000
    phase_ms = np.sort(np.random.default_rng(load.seed).integers(0, beat_ms, load.hosts)).tolist()
    hosts = [_Host(number, load, draw) for number in range(load.hosts)]
    for at in range(START_MS, START_MS + load.hours * HOUR_MS, beat_ms):
        for host, phase in zip(hosts, phase_ms, strict=True):
            yield host.heartbeat(at + phase)
            if draw.random() < load.crash_share:
                yield host.crash(at + phase + 1, draw)


class _Host:
    """One host's words; its list of updates is put together anew only when one has been replaced."""

    def __init__(self, number: int, load: FleetLoad, draw: random.Random) -> None:
        ring = 0 if draw.random() < 0.02 else 1 if draw.random() < 0.2 else 2
        self._name = f"host-{number:06}"
        words = f"r{ring}", f"os-{draw.randrange(SYSTEMS)}", f"model-{draw.randrange(MODELS)}", f"s{number % 40}"
        self._place = '"fleet":"plant","host":"{}","ring":"{}","os":"{}","model":"{}","site":"{}"'.format(
            self._name, *words
        )
        self._delay_ms = [_delay_ms(product, ring, draw) for product in range(load.updates)]
        self._due_ms, self._listed = 0, ""

    def _updates(self, at_ms: int) -> str:
        if at_ms >= self._due_ms:
            listed, due_ms = [], []
            for product, delay_ms in enumerate(self._delay_ms):
                version = (at_ms - START_MS - delay_ms) // (VERSION_DAYS * DAY_MS)
                installed_ms = START_MS + delay_ms + version * VERSION_DAYS * DAY_MS
                due_ms.append(installed_ms + VERSION_DAYS * DAY_MS)
                listed.append(
                    f'{{"vendor":"vendor-{product % 5}","product":"product-{product}","version":"{version + 9}.0",'
                    f'"installed_at":{installed_ms}}}'
                )
            self._due_ms, self._listed = min(due_ms), ",".join(listed)
        return self._listed

    def heartbeat(self, at_ms: int) -> bytes:
        return (
            f'{{"v":1,"kind":"heartbeat","id":"{self._name}-{at_ms}",{self._place},"ts":{at_ms},'
            f'"updates":[{self._updates(at_ms)}]}}\n'
        ).encode()

    def crash(self, at_ms: int, draw: random.Random) -> bytes:
        signature = min(int(draw.expovariate(0.5)), SIGNATURES - 1)
        return (
            f'{{"v":1,"kind":"crash","id":"{self._name}-{at_ms}",{self._place},"ts":{at_ms},'
            f'"signature":{{"code":"0x{signature:02x}","module":"m{signature}.sys"}},'
            f'"updates":[{self._updates(at_ms)}]}}\n'
        ).encode()


def _delay_ms(product: int, ring: int, draw: random.Random) -> int:
    """How long after a round of versions the host has its product's: the products come one after the other, the rings
    too, and the hosts of a ring over RAMP_DAYS."""
    return round((product * VERSION_DAYS / 16 + ring + draw.random() * RAMP_DAYS) * DAY_MS) - 4 * DAY_MS
