"""Families with an update at fault, of which less is told, or later, or otherwise."""

from pipeline.bakeoff.spec import Family, Fault, Fleet, Push, Telling

GUILTY = (Push("guilty", fault=Fault(crash_share=0.1)),)


def _told(name: str, kind: str, telling: Telling, hosts: int = 5000, pushes: tuple[Push, ...] = GUILTY) -> Family:
    return Family(name, kind, Fleet(hosts), pushes, telling=telling)


FAMILIES = (
    _told("next-boot-dated", "next boot only", Telling(by="boot")),
    _told("next-boot-undated", "next boot only", Telling(by="undated")),
    _told("told-by-both", "next boot only", Telling(by="both")),
    _told("next-boot-dated-hours-late", "next boot only", Telling(by="boot", late_share=0.7, late_hours=2)),
    _told("all-two-hours-late", "hours late", Telling(late_share=1.0, late_hours=2)),
    _told("most-four-hours-late", "hours late", Telling(late_share=0.8, late_hours=4)),
    _told("80-never-heard-of-again", "silent machines", Telling(silent_share=0.8)),
    _told("95-never-heard-of-again", "silent machines", Telling(silent_share=0.95), 20_000),
    _told("a-tenth-of-heartbeats", "sampled telemetry", Telling(sampled=0.1)),
    _told("a-hundredth-of-heartbeats", "sampled telemetry", Telling(sampled=0.01), 20_000),
    _told("clocks-minutes-off", "clock skew", Telling(skew_minutes=3)),
    _told("clocks-hours-off", "clock skew", Telling(skew_minutes=120)),
    _told("duplicates", "duplicates and disorder", Telling(duplicates=0.3)),
    _told("disorder-of-minutes", "duplicates and disorder", Telling(disorder_minutes=10, duplicates=0.1)),
    Family("re-imaged", "re-imaged hosts", Fleet(4000, reimaged_share=0.3), GUILTY),
)
