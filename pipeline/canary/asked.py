"""What is asked of a plan: a fleet, faults, canaries; and the simulated rollout that each of them comes to."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pipeline.bakeoff.spec import NEW, Family, Fault, Fleet, Push, Telling, Where
from pipeline.runtime.errors import ConfigError

CANARY, REST, UPDATE = "canary", "rest", "planned"
BACKGROUND = 5  # innocent rollouts beside it, so that the update does not stand alone
MOST_EVENTS = 10_000_000  # of one simulated rollout: a gigabyte of memory, a minute of a core
DAY_HOURS = 24


# A ring of its own, of which every host gets the update; or hosts of a ring, the others of which do not.
Layout = Literal["spread", "ring"]


class Harm(NamedTuple):
    """A fault to plan for: it multiplies the ordinary crash rate by `risk`, or `boot_share` of all boots crash. A risk
    of 1 does none: how often is such an update halted, and when is it cleared?"""

    risk: float = 1.0
    boot_share: float = 0.0

    @property
    def name(self) -> str:
        """As tables have it."""
        if self.boot_share:
            return f"{100 * self.boot_share:.3g}% of boots"
        return f"×{self.risk:g}" if self.is_harmful else "harmless"

    def row(self) -> dict[str, object]:
        """For JSON."""
        return {"name": self.name, **self._asdict()}

    @property
    def is_harmful(self) -> bool:
        """Whether a halt is right."""
        return self.risk > 1 or self.boot_share > 0


class Asked(NamedTuple):
    """A fleet and its rollout as a person describes them; rates are of a host."""

    hosts: int = 8_000
    boots_per_day: float = 1.0
    heartbeats_per_day: float = 24.0
    crashes_per_day: float = 0.004
    silent_share: float = 0.0  # of the hosts that the fault crashes: not heard of again
    install_minutes: float = 60.0  # within which the canary gets it
    history_hours: float = 24.0  # that the detector has watched before; it keeps 26
    models: int = 5
    signature: bool = False  # whether crashes of the fault look like none before, or like any


def check(
    asked: Asked, harms: Sequence[Harm], canaries: Sequence[int], hours: Sequence[float], tolerated: float
) -> None:
    """Raises ConfigError, naming the option, for what fits no other, or would take for ever."""
    if too_large := [size for size in canaries if size >= asked.hosts]:
        raise ConfigError(
            f"--canary {too_large[0]}: it must be smaller than the fleet (--hosts {asked.hosts}); the rest is what it "
            "is compared with"
        )
    reports = asked.boots_per_day + asked.heartbeats_per_day
    if not reports:
        raise ConfigError(
            "--boots-per-day 0 with --heartbeats-per-day 0: hosts that never report show nothing; give one of them"
        )
    if not asked.boots_per_day and any(harm.boot_share for harm in harms):
        raise ConfigError("--boot-share with --boots-per-day 0: nothing boots; give the boots, or a --risk instead")
    if not asked.crashes_per_day and any(harm.risk > 1 for harm in harms):
        raise ConfigError(
            "--risk with --crashes-per-day 0: any multiple of no crashes is none; give a --boot-share instead"
        )
    if mild := [harm.risk for harm in harms if 1 < harm.risk <= tolerated]:
        raise ConfigError(
            f"--risk {mild[0]:g}: the policy tolerates ×{tolerated:g} (tolerated_risk) and never halts for it; name a "
            "larger one, or 1 for a harmless update"
        )
    events = asked.hosts * reports * (asked.history_hours + max(hours)) / DAY_HOURS
    if events > MOST_EVENTS:
        most = int(asked.hosts * MOST_EVENTS / events)
        raise ConfigError(
            f"--hosts {asked.hosts}: with these reports and hours one simulated rollout has {events:,.0f} events, and "
            f"{MOST_EVENTS:,} is the most; fewer --hosts (at most {most}) tell the same, for beyond some times the "
            "canary the rest of a fleet only adds to what is known already"
        )


def family_of(asked: Asked, harm: Harm, layout: Layout, canary: int, hours: float) -> Family:
    """The rollout to a canary of so many hosts, followed for so long."""
    fault = Fault(risk=harm.risk, boot_share=harm.boot_share, signature=NEW if asked.signature else None)
    beats, rest = asked.heartbeats_per_day, ((REST, asked.hosts - canary),) if layout == "ring" else ()
    return Family(
        name=UPDATE,  # seeds go by it: what is compared has as much in common as can be
        kind="planned",
        fleet=Fleet(
            asked.hosts,
            models=asked.models,
            beat_minutes=DAY_HOURS * 60 / beats if beats else 0.0,
            boots_a_day=asked.boots_per_day,
            crashes_a_day=asked.crashes_per_day,
            rings=((CANARY, canary if rest else asked.hosts), *rest),
        ),
        pushes=(
            Push(
                UPDATE,
                over_minutes=asked.install_minutes,
                share=1.0,
                hosts=canary,
                where=Where(ring=CANARY),
                fault=fault if harm.is_harmful else None,
            ),
        ),
        telling=Telling(silent_share=asked.silent_share),
        warm_hours=asked.history_hours,
        hours=hours,
        background=BACKGROUND,
    )
