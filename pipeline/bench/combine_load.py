"""Realistic events for the combiner's bench: about 360 bytes, one to three recent updates, a million hosts."""

import random
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.wire.spans import DAY_MS

RINGS = ("canary", "early", "broad", "late")
SYSTEMS = ("windows-10.0.22631", "windows-10.0.19045", "windows-10.0.26100")
MODELS = ("latitude-7440", "thinkpad-t14", "elitebook-840", "surface-pro-9", "optiplex-7010")
SITES = ("ber-3", "muc-1", "ham-2", "par-7", "lon-4", "nyc-1", "sfo-2", "sin-1")
VENDORS = ("crowdstrike", "microsoft", "dell", "intel", "google")
PRODUCTS = ("falcon-content", "windows-update", "bios", "gfx-driver", "chrome", "edge", "nic", "agent", "vpn", "office")
SHARE_OF_BOOTS, SHARE_OF_CRASHES = 0.15, 0.001


class EventLoad(NamedTuple):
    """What to generate; `until_ms` is the time of the last event, `seconds` the time that they span."""

    events: int
    hosts: int
    versions: int
    seconds: float
    until_ms: int
    seed: int


def messages(load: EventLoad) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each event, in order of its time."""
    rng = random.Random(load.seed)
    updates = [
        f'{{"vendor":"{VENDORS[n % 5]}","product":"{PRODUCTS[n // 5 % 10]}",'
        f'"version":"{n // 50 + 1}.{n}","installed_at":'
        for n in range(load.versions)
    ]
    first_ms = load.until_ms - int(load.seconds * 1000)
    for number in range(load.events):
        at = first_ms + int(number / load.events * load.seconds * 1000) - int(rng.expovariate(1 / 2_000))
        host = rng.randrange(load.hosts)
        key = f"h-{host:07d}"
        body = ",".join(
            f"{updates[rng.randrange(load.versions)]}{at - rng.randrange(7 * DAY_MS)}}}"
            for _ in range(rng.choice((1, 1, 2, 2, 3)))
        )
        value = (
            f'{{"v":1,"id":"{rng.getrandbits(96):024x}",{_kind(rng.random(), at)},'
            f'"fleet":"acme","host":"{key}","ts":{at},'
            f'"ring":"{RINGS[host % 4]}","os":"{SYSTEMS[host % 3]}","model":"{MODELS[host % 5]}",'
            f'"region":"eu","site":"{SITES[host % 8]}","updates":[{body}]}}'
        )
        yield key.encode(), value.encode()


def _kind(draw: float, at: int) -> str:
    if draw < SHARE_OF_CRASHES:
        return '"kind":"crash","signature":{"code":"0x50","module":"csagent.sys"}'
    if draw < SHARE_OF_BOOTS:
        return f'"kind":"boot","prior":"clean","prior_ended_at":{at - 30_000}'
    return '"kind":"heartbeat"'
