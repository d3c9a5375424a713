"""A site that all hosts are at says nothing of any: its crashes count as if nobody named it."""

import msgspec
import pytest
from support.decide_world import GUILTY, KERNEL_FAULT, T0, crash, feed, installed, life

from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet
from pipeline.wire.events import AnyEvent, Signature
from pipeline.wire.spans import MINUTE_MS

TS = T0 + 20 * MINUTE_MS


def at(events: list[AnyEvent], elsewhere: int = 0, site: str = "hq") -> list[AnyEvent]:
    """The same hosts at one site, but every `elsewhere`-th (0: none)."""
    return [
        msgspec.structs.replace(each, site="home" if elsewhere and int(each.host[1:]) % elsewhere == 0 else site)
        for each in events
    ]


def counted(detector: Detector, signature: Signature, site: str = "hq") -> float:
    """Of twenty hosts of a site that crash within a minute, those that are evidence."""
    has = installed(0, TS, GUILTY, 10)
    crashes: list[AnyEvent] = [crash(host, TS + host, has, signature) for host in range(1, 21)]
    before = float(detector.state.counts.counted.sum())
    feed(detector, at(crashes, site=site))
    return float(detector.state.counts.counted.sum()) - before


@pytest.mark.parametrize(
    ("elsewhere", "signature", "site", "expected"),
    [
        (0, KERNEL_FAULT, "hq", 20),
        (0, Signature("", ""), "hq", 3),  # it may be a power cut
        (20, KERNEL_FAULT, "hq", 3),
        (0, KERNEL_FAULT, "other", 3),
    ],
)
def test_crashes_of_the_only_site_each_count(elsewhere: int, signature: Signature, site: str, expected: int) -> None:
    """With a signature; not those of one site among others, of which a cut would be one event, nor without signature.
    A restored detector knows as well."""
    detector = Detector("acme", PolicySet())
    feed(detector, at(life(T0 - 60 * MINUTE_MS, TS, GUILTY), elsewhere), MINUTE_MS)
    restored = Detector.restore(detector.snapshot(), PolicySet())
    assert counted(detector, signature, site) == counted(restored, signature, site) == expected


def test_of_hosts_that_are_not_known_none_is_a_lone_site() -> None:
    """Crashes in the first minutes, before hosts are followed: three."""
    assert counted(Detector("acme", PolicySet()), KERNEL_FAULT) == 3
