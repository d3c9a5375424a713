"""What goes wrong in a drawn fleet: updates at fault, and what is nobody's fault."""

from pipeline.bakeoff.drawn.chance import any_of, between, evenly, happens, one_of
from pipeline.bakeoff.drawn.rollouts import Ground
from pipeline.bakeoff.spec import EVERYWHERE, NEW, SECOND, STRANGE, Fault, Push, Shock

MOST_CRASHES_A_DAY = 12.0  # of a host with the fault, on average: a relative risk beyond that is cut to it


def guilty(ground: Ground, pushes: list[Push], marked: list[int]) -> list[Push]:
    """The pushes with faults at the marked places."""
    found = list(pushes)
    for order, place in enumerate(marked):
        found[place] = found[place]._replace(fault=_fault(ground, pushes, place, order))
    return found


def _fault(ground: Ground, pushes: list[Push], place: int, order: int) -> Fault:
    rng, fleet, hours = ground.rng, ground.fleet, ground.span.hours
    fault = _size(ground)
    if happens(rng, 0.6):
        fault = fault._replace(signature=(NEW, SECOND)[order], codes=any_of(rng, (1, 1, 1, 3, 8)) if not order else 1)
    else:
        fault = fault._replace(signature=None)
    push = pushes[place]
    if push.where == EVERYWHERE and happens(rng, 0.5):
        where = ground.place("ring", "model", "system", "region")
        rings = [ring for ring, _ in push.stages or fleet.rings]
        fault = fault._replace(where=where._replace(ring=any_of(rng, rings)) if where.ring else where)
    when = one_of(rng, {"": 0.75, "late": 0.1, "slow": 0.08, "date": 0.07})
    if when == "late":
        fault = fault._replace(onset_hours=between(rng, 1.0, max((hours - push.at) * 0.6, 2.0)))
    elif when == "slow":
        fault = fault._replace(burn_hours=between(rng, 4.0, 48.0))
    elif when == "date":
        fault = fault._replace(not_before=evenly(rng, push.at, max(push.at, hours * 0.8)))
    others = [each.name for row, each in enumerate(pushes) if row != place and not each.after_crash_minutes]
    if others and happens(rng, 0.06):
        fault = fault._replace(only_with=any_of(rng, others))
    return fault


def _size(ground: Ground) -> Fault:
    """A relative risk of 2 to 1000, a share of hosts that crash once, or one of all boots: 2 to 100 %."""
    rng, fleet = ground.rng, ground.fleet
    usual = fleet.crashes_a_day + fleet.boots_a_day * fleet.boot_crashes
    kind = one_of(rng, {"risk": 0.4, "once": 0.35, "boots": 0.25})
    if kind == "risk" and usual:
        return Fault(risk=max(min(between(rng, 2, 1000), round(MOST_CRASHES_A_DAY / usual, 1)), 2.0))
    if kind == "boots":
        return Fault(boot_share=between(rng, 0.02, 1.0))
    return Fault(crash_share=between(rng, 0.02, 1.0), crash_minutes=between(rng, 1, 120))


def shocks(ground: Ground, pushes: list[Push]) -> tuple[Shock, ...]:
    """What hits hosts whatever they run: up to three, half of them around a push."""
    count = one_of(ground.rng, {0: 0.35, 1: 0.35, 2: 0.2, 3: 0.1})
    return tuple(_shock(ground, pushes) for _ in range(count))


def _shock(ground: Ground, pushes: list[Push]) -> Shock:
    rng, (warm, hours) = ground.rng, ground.span
    at = evenly(rng, -warm, hours * 0.9)
    if happens(rng, 0.5):
        at = any_of(rng, pushes).at + evenly(rng, -1.0, 2.0)
    at = round(min(max(at, -warm), hours * 0.95), 3)
    kind = one_of(rng, {"outage": 0.6, "cut": 0.15, "silence": 0.2, "machine": 0.05})
    everywhere = happens(rng, 0.45)
    if kind == "outage":
        where = EVERYWHERE if everywhere else ground.place("model", "region", "site")
        look = STRANGE if happens(rng, 0.5) else None
        return Shock(at, between(rng, 0.1, 4.0), between(rng, 3, 100), where=where, signature=look)
    where = EVERYWHERE if everywhere else ground.place("region", "site")
    if kind == "cut":
        return Shock(at, cut_share=between(rng, 0.02, 0.5), where=where)
    if kind == "silence":
        return Shock(at, between(rng, 0.25, 4.0), silence=any_of(rng, ("lost", "late")), where=where)
    return Shock(at, between(rng, 1, 6), machine_minutes=evenly(rng, 10, 60), signature=any_of(rng, (STRANGE, None)))
