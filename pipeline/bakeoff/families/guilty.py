"""Families with an update at fault, told as crashes are told on most days."""

from pipeline.bakeoff.spec import NEW, SECOND, Family, Fault, Fleet, Push, Where


def _size(risk: float, hosts: int, hours: float = 10.0, signature: bool = True) -> Family:
    fault = Fault(risk=risk, signature=NEW if signature else None)
    look = "" if signature else "-plain"
    pushes = (Push("guilty", fault=fault),)
    return Family(f"x{risk:g}{look}-{hosts}", "fault size", Fleet(hosts), pushes, hours=hours)


def _boots(share: float, hosts: int, warm_hours: float = 6.0) -> Family:
    push = Push("guilty", fault=Fault(crash_share=share))
    name = f"{share * 100:g}pc-of-boots-{hosts}{'' if warm_hours > 1 else '-new-here'}"
    return Family(name, "fault size", Fleet(hosts), (push,), warm_hours=warm_hours)


SIZES = (
    _size(1.5, 60_000), _size(2, 60_000, 24, False), _size(3, 60_000, 10, False), _size(5, 20_000), _size(10, 5000),
    _size(10, 200_000, 6), _size(50, 20_000), _size(50, 1000), _size(200, 3000), _size(1000, 300),
    _boots(0.04, 5000), _boots(0.1, 1000), _boots(0.3, 300), _boots(0.04, 5000, 0.5), _boots(0.1, 1000, 0.5),
    _boots(0.3, 300, 0.5),
)  # fmt: skip


def _placed(name: str, where: Where, fault: Fault, hosts: int = 10_000) -> Family:
    fault = fault._replace(where=where)
    return Family(name, "one ring, model, system, region", Fleet(hosts), (Push("guilty", fault=fault),))


PLACES = (
    Family(
        "one-ring", "one ring, model, system, region", Fleet(10_000),
        (Push("guilty", share=0.9, stages=(("early", 0.0),), fault=Fault(risk=30)),),
    ),
    _placed("one-model", Where(model="model-2"), Fault(risk=50)),
    _placed("one-model-few-hosts", Where(model="model-4"), Fault(crash_share=0.2), 3000),
    _placed("one-system", Where(system="windows-10"), Fault(risk=20)),
    _placed("one-region", Where(region="ap"), Fault(risk=20)),
)  # fmt: skip

AMID = (
    Family(
        "new-signature-amid-crashes-5000", "new signature amid many crashes", Fleet(5000, crashes_a_day=0.1),
        (Push("guilty", fault=Fault(crash_share=0.008)),),
    ),
    Family(
        "new-signature-amid-crashes-40000", "new signature amid many crashes", Fleet(40_000, crashes_a_day=0.06),
        (Push("guilty", fault=Fault(crash_share=0.004)),),
    ),
)  # fmt: skip


def _together(overlap: float) -> Family:
    beside = Push("beside", share=0.5, with_push="guilty", overlap=overlap, alone=0.1 if overlap < 1 else 0.0)
    pushes = (Push("guilty", share=0.5, fault=Fault(crash_share=0.08)), beside)
    return Family(f"co-deployed-{overlap * 100:g}", "co-deployed innocents", Fleet(6000), pushes)


def _crowd(name: str, kind: str, guilty: int, hosts: int, share: float, surge: float, fault: Fault) -> Family:
    """Many updates, each to most of the same hosts within an hour; one is at fault."""
    pushes = tuple(
        Push(f"kb-{n}", at=n / 8, over_minutes=60, share=share, surge=surge, fault=fault if n == guilty else None)
        for n in range(8)
    )
    return Family(name, kind, Fleet(hosts), pushes, background=2)


CROWDS = (
    *(_together(overlap) for overlap in (0.5, 0.9, 1.0)),
    _crowd("eight-in-one-hour", "eight in one hour", 3, 5000, 0.7, 0.0, Fault(crash_share=0.1)),
    _crowd("eight-in-one-hour-last", "eight in one hour", 7, 5000, 0.5, 0.0, Fault(crash_share=0.05, signature=None)),
    _crowd("patch-tuesday-guilty", "patch Tuesday", 5, 8000, 0.8, 0.9, Fault(crash_share=0.06)),
    Family(
        "two-guilty-same-hosts", "two guilty", Fleet(8000),
        (
            Push("first", share=0.5, fault=Fault(crash_share=0.05)),
            Push("second", with_push="first", overlap=0.9, alone=0.1, fault=Fault(crash_share=0.05, signature=SECOND)),
        ),
    ),
    Family(
        "two-guilty-different-hosts", "two guilty", Fleet(8000),
        (
            Push("first", share=0.4, fault=Fault(crash_share=0.05)),
            Push("second", with_push="first", overlap=0.0, alone=0.6, fault=Fault(crash_share=0.05, signature=SECOND)),
        ),
    ),
    Family(
        "only-a-with-b", "only together", Fleet(8000),
        (
            Push("a", share=0.5, fault=Fault(crash_share=0.1, only_with="b")),
            Push("b", at=0.5, share=0.4, over_minutes=300),
        ),
    ),
)  # fmt: skip

LATE = "late onset, slow burn, date bomb"
SLOW = (
    Family(
        "late-onset-two-days", LATE, Fleet(3000),
        (Push("guilty", fault=Fault(crash_share=0.1, crash_minutes=120, onset_hours=40)),), hours=60, background=8,
    ),
    Family(
        "slow-burn", LATE, Fleet(5000),
        (Push("guilty", fault=Fault(risk=30, burn_hours=48, signature=None)),), hours=48, background=8,
    ),
    Family(
        "date-bomb", LATE, Fleet(5000),
        (Push("guilty", fault=Fault(crash_share=0.3, crash_minutes=10, not_before=20.0)),), hours=24, background=8,
    ),
)  # fmt: skip


def _at_once(share: float, history: bool) -> Family:
    """To everyone at once: with the past of a day in the stream, or of ten minutes."""
    push = Push("guilty", over_minutes=5, share=share, fault=Fault(crash_share=0.25, crash_minutes=10))
    name = f"at-once-{share * 100:g}{'' if history else '-no-history'}"
    warm = 24.0 if history else 1 / 6
    return Family(name, "all at once", Fleet(5000), (push,), warm_hours=warm, hours=4, background=2)


STAGES = (("canary", 0.0), ("early", 2.0), ("broad", 5.0))

ODD = (
    *(_at_once(share, history) for share in (0.7, 0.85, 0.97, 1.0) for history in (True, False)),
    Family(
        "canary-of-20-bad", "tiny canary", Fleet(3000),
        (Push("guilty", over_minutes=30, share=1.0, hosts=20, fault=Fault(crash_share=0.6)),),
    ),
    Family(
        "canary-of-20-mild", "tiny canary", Fleet(3000),
        (Push("guilty", over_minutes=30, share=1.0, hosts=20, fault=Fault(crash_share=0.2)),),
    ),
    Family(
        "servers-that-boot-monthly", "servers",
        Fleet(2000, boots_a_day=1 / 30, beat_minutes=720, crashes_a_day=0.001, rings=(("broad", 1.0),)),
        (Push("guilty", over_minutes=720, surge=1.0, fault=Fault(crash_share=0.15)),), hours=16,
    ),
    Family(
        "never-crashed-staged", "never crashed", Fleet(2000, crashes_a_day=0.0),
        (Push("guilty", share=0.9, stages=STAGES, fault=Fault(crash_share=0.2)),), warm_hours=12,
    ),
    Family(
        "never-crashed-to-97", "never crashed", Fleet(5000, crashes_a_day=0.0),
        (Push("guilty", over_minutes=60, share=0.97, fault=Fault(crash_share=0.35)),), warm_hours=12, hours=6,
    ),
    Family(
        "re-released", "versions", Fleet(5000),
        (
            Push("guilty", over_minutes=120, removed_at=3.0, fault=Fault(crash_share=0.03)),
            Push("guilty/again", at=4.0, over_minutes=120, fault=Fault(crash_share=0.03)),
        ),
    ),
    Family(
        "rolled-back-and-fixed", "versions", Fleet(5000),
        (
            Push("patch", over_minutes=120, removed_at=4.0, version="2", fault=Fault(crash_share=0.08)),
            Push("patch/fixed", at=5.0, over_minutes=120, version="3"),
        ),
    ),
    Family(
        "version-re-used", "versions", Fleet(5000),
        (
            Push("content", at=-5.0, over_minutes=60, share=0.5, version="7"),
            Push("content/other", at=1.0, over_minutes=120, share=0.6, version="7", fault=Fault(crash_share=0.1)),
        ),
    ),
)  # fmt: skip

FAMILIES = (*SIZES, *PLACES, *AMID, *CROWDS, *SLOW, *ODD)
