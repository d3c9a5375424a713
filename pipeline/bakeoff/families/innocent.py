"""Families in which nobody is at fault, and much seems to say otherwise."""

from pipeline.bakeoff.spec import EVERYWHERE, STRANGE, Family, Fleet, Push, Shock, Telling, Where

FAST = Push("innocent", over_minutes=10, share=0.85, surge=1.0)
SLOW = Push("innocent", share=0.6)


def _plain(name: str, kind: str, fleet: Fleet, *pushes: Push, hours: float = 12, background: int = 8) -> Family:
    return Family(name, kind, fleet, pushes or (SLOW,), hours=hours, background=background)


PACE = (
    _plain(
        "fast-push-whose-boots-crash", "ramps", Fleet(5000, crashes_a_day=0.005, boot_crashes=0.004), FAST, hours=8
    ),
    _plain("fast-push-with-boot-surge", "ramps", Fleet(5000, crashes_a_day=0.02), FAST),
    _plain("ramps-300", "ramps", Fleet(300, crashes_a_day=0.02), background=16),
    _plain("ramps-20000", "ramps", Fleet(20_000), background=16),
    _plain("drift", "drift", Fleet(5000, crashes_a_day=0.02, drift_a_day=4.0), hours=36),
    _plain("daily-cycles-x5", "daily cycles", Fleet(5000, crashes_a_day=0.02, cycle=5.0), hours=48),
    _plain("weekends", "weekends", Fleet(3000, crashes_a_day=0.01, weekend=0.2), Push("innocent", at=50), hours=84),
    _plain(
        "patch-tuesday", "patch Tuesday", Fleet(8000, crashes_a_day=0.02),
        *(Push(f"kb-{n}", at=n / 12, over_minutes=90, share=0.8, surge=0.9) for n in range(12)), background=2,
    ),
)  # fmt: skip


def _outage(name: str, after_hours: float, new: bool, share: float = 0.85) -> Family:
    """A service fails, for all hosts alike, so long after the push began."""
    shock = Shock(at=after_hours, hours=1.0, factor=20.0, signature=STRANGE if new else None)
    push = FAST._replace(share=share)
    return Family(name, "outages around a push", Fleet(5000, crashes_a_day=0.02), (push,), (shock,), warm_hours=8)


OUTAGES = (
    _outage("outage-before", -1.0, False),
    _outage("outage-before-new-signature", -1.0, True),
    _outage("outage-during", 0.05, False),
    _outage("outage-during-new-signature", 0.05, True),
    _outage("outage-ten-minutes-after", 0.3, False),
    _outage("outage-an-hour-after", 1.0, False),
    _outage("outage-an-hour-after-new-signature", 1.0, True),
    _outage("outage-after-push-to-all", 0.5, True, 1.0),
)


def _cut(name: str, telling: Telling, where: Where = EVERYWHERE) -> Family:
    shock = Shock(at=2.0, cut_share=0.05, where=where)
    return Family(name, "power cuts", Fleet(4000, sites=3, crashes_a_day=0.005), (SLOW,), (shock,), telling)


CUTS = (
    _cut("power-cut-with-sites", Telling()),
    _cut("power-cut-without-sites", Telling(nameless_sites=True)),
    _cut("power-cut-of-a-region-without-sites", Telling(nameless_sites=True), Where(region="eu")),
)


def _simpson(name: str, fleet: Fleet) -> Family:
    """The push goes to machines that crash more in any case."""
    push = Push("innocent", share=0.05, trait_share=0.9)
    return Family(name, "Simpson by model", fleet, (push,), warm_hours=12, hours=24)


CONFOUNDED = (
    _plain("flaky-hosts", "flaky hosts", Fleet(4000, crashes_a_day=0.004, trait_share=0.02, trait_risk=60)),
    _simpson(
        "simpson-known-model", Fleet(6000, crashes_a_day=0.004, trait_share=0.3, trait_risk=8, trait_in_model=True)
    ),
    _simpson(
        "simpson-folded-models",
        Fleet(6000, models=150, crashes_a_day=0.004, trait_share=0.2, trait_risk=8, trait_in_model=True),
    ),
    _simpson("simpson-unmeasured", Fleet(6000, crashes_a_day=0.004, trait_share=0.2, trait_risk=8)),
    Family(
        "repair-tool", "reverse causality", Fleet(5000, crashes_a_day=0.004, trait_share=0.03, trait_risk=60),
        (Push("innocent", share=0.8, after_crash_minutes=30),), warm_hours=12, hours=36,
    ),
    Family(
        "renamed-module", "renamed modules", Fleet(20_000, crashes_a_day=0.03), (SLOW,), warm_hours=12,
        renamed_by="innocent",
    ),
    Family(
        "renamed-module-at-once", "renamed modules", Fleet(10_000, crashes_a_day=0.03), (FAST,), warm_hours=12,
        renamed_by="innocent",
    ),
)  # fmt: skip


def _forging(share: float) -> Family:
    telling = Telling(forging_share=share)
    name = f"forging-{share * 100:g}pc"
    return Family(name, "forging minorities", Fleet(5000), (Push("innocent", over_minutes=60),), telling=telling)


FORGED = tuple(_forging(share) for share in (0.002, 0.005, 0.02, 0.05))

FAMILIES = (*PACE, *OUTAGES, *CUTS, *CONFOUNDED, *FORGED)
