"""What ordinary fleets are like, and detectors that shine in large ones fail at: small, quiet, crowded, half blind."""

from pipeline.bakeoff.spec import NEW, STRANGE, Family, Fault, Fleet, Push, Shock, Telling, Where

FAST = Push("innocent", over_minutes=10, share=0.85, surge=1.0)
PLAIN = Fault(crash_share=0.1, signature=None)
PROMPT = Telling(down_seconds=5, minutes=0.3)  # a service that starts again, and tells at once


def _at_boots(share: float, hosts: int, signature: bool, warm_hours: float = 6.0) -> Family:
    """60 % have it, and some of all their boots crash: a trickle."""
    push = Push("guilty", fault=Fault(boot_share=share, signature=NEW if signature else None))
    name = f"{share * 100:g}pc-of-all-boots-{hosts}{'' if signature else '-plain'}"
    name += "" if warm_hours > 1 else "-new-here"
    return Family(name, "small fleets", Fleet(hosts), (push,), warm_hours=warm_hours, hours=24)


SMALL = (
    *(
        _at_boots(share, hosts, signature)
        for share, hosts in ((0.04, 5000), (0.1, 1000), (0.3, 300))
        for signature in (True, False)
    ),
    _at_boots(0.1, 1000, False, 0.5),
    Family("10pc-plain-1000", "small fleets", Fleet(1000), (Push("guilty", fault=PLAIN),)),
    Family("30pc-plain-300", "small fleets", Fleet(300), (Push("guilty", fault=PLAIN._replace(crash_share=0.3)),)),
    Family(
        "10pc-plain-1000-told-at-once", "small fleets", Fleet(1000), (Push("guilty", fault=PLAIN),), telling=PROMPT
    ),
    Family(
        "three-hosts-three-sites", "small fleets", Fleet(300, sites=300, boots_a_day=3.0),
        (Push("guilty", over_minutes=5, share=1.0, hosts=3, fault=Fault(crash_share=1.0, crash_minutes=20)),),
    ),
    Family(
        "one-site", "small fleets", Fleet(3000, sites=1),
        (Push("guilty", over_minutes=10, share=0.7, fault=Fault(crash_share=0.25, crash_minutes=2)),), telling=PROMPT,
    ),
)  # fmt: skip

STAGED = (("canary", 0.0), ("early", 3.0), ("broad", 6.0))
QUIET = (
    Family(
        "staged-harm-in-the-last-ring", "never crashed", Fleet(3000, crashes_a_day=0.0005),
        (
            Push(
                "guilty", over_minutes=20, share=0.97, stages=STAGED,
                fault=Fault(crash_share=0.2, where=Where(ring="broad")),
            ),
        ),
        warm_hours=12, hours=9,
    ),
    Family(
        "never-crashed-to-97-told-at-once", "never crashed", Fleet(2000, crashes_a_day=0.0),
        (Push("guilty", over_minutes=5, share=0.97, fault=Fault(crash_share=0.5, crash_minutes=2)),), telling=PROMPT,
        warm_hours=12, hours=4,
    ),
)  # fmt: skip

TELLING = (
    Family(
        "next-boot-late-90-silent", "next boot only", Fleet(5000), (Push("guilty", fault=Fault(crash_share=0.15)),),
        telling=Telling(by="boot", late_share=0.7, late_hours=3, silent_share=0.9),
    ),
    Family(
        "all-at-once-90-silent", "silent machines", Fleet(20_000),
        (Push("guilty", over_minutes=60, share=0.8, fault=Fault(crash_share=0.9)),),
        telling=Telling(silent_share=0.9), hours=5,
    ),
)  # fmt: skip

AMID = (
    Family(
        "new-signature-on-04pc-of-boots", "new signature amid many crashes", Fleet(10_000, crashes_a_day=0.15),
        (Push("guilty", over_minutes=120, fault=Fault(boot_share=0.004)),), hours=24, background=3,
    ),
    Family(
        "many-codes-of-one-module", "one module, many codes", Fleet(5000, crashes_a_day=0.03),
        (Push("guilty", fault=Fault(crash_share=0.03, codes=8)),),
    ),
)  # fmt: skip


def _crowd(name: str, guilty: int, product: str, fault: Fault, hosts: int = 4000) -> Family:
    """Eight updates to the same hosts within an hour; `product`: of one product, or of their own."""
    pushes = tuple(
        Push(
            product.format(n), at=n / 8, over_minutes=30, share=0.6, version=str(n),
            with_push=product.format(0) if n else "", overlap=0.93, alone=0.03, fault=fault if n == guilty else None,
        )
        for n in range(8)
    )  # fmt: skip
    return Family(name, "eight in one hour", Fleet(hosts), pushes, background=2)


CROWDS = (
    _crowd("eight-on-the-same-hosts", 4, "kb-{}", Fault(crash_share=0.12)),
    _crowd("eight-on-the-same-hosts-plain", 2, "kb-{}", Fault(crash_share=0.12, signature=None)),
    _crowd("eight-of-one-product", 3, "kb/{}", Fault(crash_share=0.12, crash_minutes=2)),
    Family(
        "two-guilty-alike", "two guilty", Fleet(6000),
        (
            Push("first", share=0.5, fault=PLAIN._replace(crash_share=0.06)),
            Push("second", with_push="first", overlap=0.8, alone=0.2, fault=PLAIN._replace(crash_share=0.06)),
        ),
    ),
)  # fmt: skip


def _outage(name: str, after_minutes: float, fleet: Fleet, factor: float, telling: Telling = PROMPT) -> Family:
    """What never crashed so crashes for all alike, soon after the push has reached 85 %, of which hosts tell hourly."""
    shock, push = Shock(after_minutes / 60, 1.0, factor, signature=STRANGE), FAST._replace(surge=0.0)
    return Family(name, "outages around a push", fleet, (push,), (shock,), telling, warm_hours=8, hours=4)


OUTAGES = (
    _outage("outage-14-minutes-after-new-1000", 14, Fleet(1000, crashes_a_day=0.2), 10),
    _outage("outage-12-minutes-after-new-3000", 12, Fleet(3000, crashes_a_day=0.02), 60),
    _outage("outage-20-minutes-after-new-1800", 20, Fleet(1800, crashes_a_day=0.12), 20),
    _outage("outage-55-minutes-after-new-3000", 55, Fleet(3000, crashes_a_day=0.12), 20),
    _outage("outage-20-minutes-after-new-told-later", 20, Fleet(1800, crashes_a_day=0.12), 20, Telling()),
    Family(
        "38-minutes-of-history", "outages around a push", Fleet(3000, crashes_a_day=0.01),
        (FAST._replace(at=0.05, share=1.0),), (Shock(0.3, 2.0, 200.0),), PROMPT, warm_hours=78 / 60, hours=4,
        deaf_minutes=40, background=2,
    ),
    Family(
        "forty-dirty-boots-in-a-minute", "power cuts", Fleet(1000),
        (Push("innocent", over_minutes=30, share=0.95, where=Where(region="eu")),),
        (Shock(2.0, cut_share=0.12, where=Where(region="eu")),), Telling(nameless_sites=True),
    ),
)  # fmt: skip

BLIND = (
    Family(
        "heartbeats-list-no-updates", "half-blind telemetry", Fleet(3000, boots_a_day=0.01, crashes_a_day=0.1),
        (Push("innocent", over_minutes=60),),
        telling=Telling(bare_heartbeats=True),
    ),
    Family(
        "heartbeats-list-no-updates-guilty", "half-blind telemetry", Fleet(3000), (Push("guilty", fault=PLAIN),),
        telling=Telling(bare_heartbeats=True),
    ),
    Family(
        "crashes-without-inventory", "half-blind telemetry", Fleet(3000), (Push("guilty", fault=PLAIN),),
        telling=Telling(bare_crashes=True),
    ),
    Family(
        "crashes-without-inventory-innocent", "half-blind telemetry", Fleet(3000, crashes_a_day=0.05), (FAST,),
        telling=Telling(bare_crashes=True),
    ),
    Family(
        "system-named-by-its-build", "half-blind telemetry", Fleet(3000), (Push("guilty", fault=PLAIN),),
        telling=Telling(moving_system=True),
    ),
    Family(
        "system-named-by-its-build-innocent", "half-blind telemetry", Fleet(3000, crashes_a_day=0.05), (FAST,),
        telling=Telling(moving_system=True),
    ),
    Family(
        "one-machine-under-three-names", "half-blind telemetry", Fleet(4000),
        (Push("innocent", over_minutes=30, share=1.0, hosts=10),),
        (Shock(2.0, 4.0, machine_minutes=20, signature=STRANGE),),
        Telling(spellings=3),
    ),
)  # fmt: skip


def _silent(name: str, where: Where, silence: str, hours: float = 1.0) -> Family:
    """Nobody crashes more; hosts are not heard of for a time, soon after the push."""
    shock = Shock(0.4, hours, where=where, silence="late" if silence == "late" else "lost")
    return Family(name, "silence of another cause", Fleet(4000, crashes_a_day=0.02), (FAST,), (shock,))


SILENT = (
    _silent("collectors-down", Where(), "lost"),
    _silent("collectors-behind", Where(), "late"),
    _silent("region-silent", Where(region="eu"), "lost", 3.0),
    _silent("ring-silent", Where(ring="early"), "lost", 3.0),
)

MODELS = (
    Family(
        "simpson-150-models", "Simpson by model",
        Fleet(6000, models=150, crashes_a_day=0.01, trait_share=0.15, trait_risk=20, trait_in_model=True),
        (Push("innocent", share=0.05, trait_share=0.9),), warm_hours=12, hours=12,
    ),
)  # fmt: skip

FAMILIES = (*SMALL, *QUIET, *TELLING, *AMID, *CROWDS, *OUTAGES, *BLIND, *SILENT, *MODELS)
