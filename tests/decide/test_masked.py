"""An update whose hosts all have a halted update too: nothing is known about it, and its verdict says so."""

import pytest
from support.decide_world import GUILTY, KERNEL_FAULT, T0, crash, feed, heartbeat

from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicySet, load_policies
from pipeline.wire.events import AnyEvent, Signature, Update
from pipeline.wire.spans import MINUTE_MS

SECOND = Update("nvidia", "display-driver", "560", T0 + 15 * MINUTE_MS)
HOSTS = 600


@pytest.mark.parametrize("policy", ['[default]\nmode = "shadow"', "[default]\nmax_halts_per_hour = 0", ""])
def test_what_a_halted_update_hides_is_marked(policy: str) -> None:
    """Whether that halt is enforced, in shadow or waits for a person: the second fault is `masked`, not the first."""
    detector = Detector("acme", load_policies(policy) if policy else PolicySet())

    def listed(host: int, ts: int) -> tuple[Update, ...]:
        found = ((GUILTY, host % 2 == 1), (SECOND, host % 5 == 0))
        return tuple(update for update, has in found if has and update.installed_at <= ts)

    def crashes(hosts: range, from_ms: int, signature: Signature) -> list[AnyEvent]:
        moments = [(host, from_ms + 7_000 * number) for number, host in enumerate(hosts)]
        return [crash(host, ts, listed(host, ts), signature) for host, ts in moments]

    life: list[AnyEvent] = [
        heartbeat(host, ts, listed(host, ts))
        for minute in range(-30, 30, 5)
        for host in range(HOSTS)
        for ts in [T0 + minute * MINUTE_MS + host * 450]
    ]
    first = crashes(range(1, 100, 2), T0 + 5 * MINUTE_MS, KERNEL_FAULT)
    second = crashes(range(305, 600, 10), T0 + 20 * MINUTE_MS, Signature("0x116", "nvlddmkm.sys"))
    fed = feed(detector, life + first + second)
    assert {h.version for h in fed.halts} == {"291"}
    flags = {v.version: v.flags for v in fed.verdicts}
    assert "masked" in flags["560"]
    assert "masked" not in flags["291"]
