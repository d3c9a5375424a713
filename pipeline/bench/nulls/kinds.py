"""The nulls that hurt: harmless rollouts of which something makes much evidence. A kind and a seed give a family. Pure.

In a fourth of each fleet's rollouts the true relative risk is exactly what policy tolerates: the edge of the null.
"""

from collections.abc import Callable

import numpy as np

from pipeline.bakeoff.spec import RINGS, STRANGE, Family, Fault, Fleet, Push, Shock, Telling, Where

AT_EDGE = Fault(risk=1.5, signature=None)
ROLLOUTS = 24
HOURS = 4.0
WARM_HOURS = 2.5
# From services that start again and tell within seconds to machines that dump their memory first: what is told within a
# minute is judged at the share of now, what is told later at the largest of four hours.
TELLINGS = (Telling(down_seconds=5, minutes=0.3), Telling(down_seconds=20, minutes=1.0), Telling())
SKEW_MINUTES = (2.0, 20.0, 70.0, 150.0)  # standard deviations of the clocks of `skewed`
EIGHT_RINGS = tuple((f"ring-{number}", 1 / 8) for number in range(8))

Draw = np.random.Generator


def _fleet(rng: Draw, hosts: int = 0) -> Fleet:
    """Crashes from one in a hundred hosts and day to one in four, as in `pipeline.simulate.nulls`."""
    hosts = hosts or int(np.exp(rng.uniform(np.log(300), np.log(4000))))
    return Fleet(hosts, crashes_a_day=float(np.exp(rng.uniform(np.log(0.01), np.log(0.25)))))


def _pushes(rng: Draw, over_minutes: tuple[float, float], **more: object) -> tuple[Push, ...]:
    """Rollouts begun at any time; every fourth at the edge."""
    low, high = np.log(over_minutes)
    return tuple(
        Push(
            f"p-{number}",
            at=float(rng.uniform(0, HOURS * 0.7)),
            over_minutes=float(np.exp(rng.uniform(low, high))),
            share=float(rng.choice([0.1, 0.3, 0.6, 0.9])),
            fault=None if number % 4 else AT_EDGE,
        )._replace(**more)  # type: ignore[arg-type]
        for number in range(ROLLOUTS)
    )


def _family(kind: str, fleet: Fleet, pushes: tuple[Push, ...], **more: object) -> Family:
    plain = Family(kind, "null", fleet, pushes, warm_hours=WARM_HOURS, hours=HOURS, background=0)
    return plain._replace(**more)  # type: ignore[arg-type]


def _fast(rng: Draw) -> Family:
    """All hosts boot to install, and some boots end in a crash, with the update or without: per boot it is harmless.
    Steep, in fleets of few rings and of many, calm before."""
    pushes = tuple(push._replace(share=float(rng.choice([0.3, 0.6, 0.85, 0.97]))) for push in _pushes(rng, (1, 15)))
    calm = float(np.exp(rng.uniform(np.log(0.003), np.log(0.25))))
    fleet = _fleet(rng)._replace(
        crashes_a_day=calm, boot_crashes=float(rng.choice([0.0, 0.001, 0.005, 0.02])),
        rings=RINGS if rng.random() < 0.5 else EIGHT_RINGS,
    )  # fmt: skip
    return _family("fast push with a boot surge", fleet, tuple(push._replace(surge=1.0) for push in pushes[:8]))


def _seldom(rng: Draw) -> Family:
    """Machines that are heard of when they boot, and crash: while a push takes minutes, hardly a trial tells of it."""
    fleet = _fleet(rng)._replace(beat_minutes=float(rng.choice([0.0, 720.0])))
    return _family("seldom heard of", fleet, _pushes(rng, (1, 60)))


def _before_outage(rng: Draw, is_new: bool) -> Family:
    """Every push 1 to 60 minutes before an outage of an hour, of which crashes look as usual, or as never before."""
    outage = Shock(2.0, 1.0, factor=float(rng.choice([5, 20])), signature=STRANGE if is_new else None)
    pushes = tuple(
        push._replace(at=2.0 - float(rng.uniform(1, 60)) / 60, share=float(rng.choice([0.3, 0.6, 0.85, 0.97])))
        for push in _pushes(rng, (2, 30))
    )
    name = f"push before an outage that looks {'new' if is_new else 'as usual'}"
    return _family(name, _fleet(rng), pushes[:8], shocks=(outage,))


def _old_outage(rng: Draw) -> Family:
    return _before_outage(rng, is_new=False)


def _new_outage(rng: Draw) -> Family:
    return _before_outage(rng, is_new=True)


def _one_site(rng: Draw) -> Family:
    """One of the three above, and all hosts at one site: what hits it hits everybody."""
    family = (_fast, _old_outage, _new_outage)[int(rng.integers(3))](rng)
    return family._replace(name=f"{family.name}, at one site", fleet=family.fleet._replace(sites=1))


def _skewed(rng: Draw) -> Family:
    """Clocks that are wrong by minutes or hours: one behind dates crashes before the push that they list."""
    fleet = _fleet(rng)._replace(models=2, crashes_a_day=float(rng.uniform(0.02, 0.2)))
    return _family("clocks that are wrong", fleet, _pushes(rng, (1, 60))[:12])


def _tiny(rng: Draw) -> Family:
    return _family("tiny fleet", _fleet(rng, int(rng.integers(20, 200))), _pushes(rng, (5, 120)))


def _sparse(rng: Draw) -> Family:
    """Many models, hardly a crash."""
    fleet = _fleet(rng)._replace(models=40, crashes_a_day=float(rng.uniform(0.002, 0.02)))
    return _family("sparse fleet", fleet, _pushes(rng, (5, 240)))


def _ramp(rng: Draw) -> Family:
    return _family("ramp", _fleet(rng), _pushes(rng, (120, 300)))


def _renamed(rng: Draw) -> Family:
    return _family("renamed module", _fleet(rng), _pushes(rng, (5, 240)), renamed_by="p-0")


def _simpson(rng: Draw, in_model: bool) -> Family:
    """Pushed to machines that crash more: of some models, or with nothing that shows it."""
    fleet = _fleet(rng)._replace(models=10, trait_share=0.3, trait_risk=5.0, trait_in_model=in_model)
    name = "Simpson, known model" if in_model else "Simpson, unmeasured"
    return _family(name, fleet, _pushes(rng, (20, 240), share=0.1, trait_share=0.7, fault=None))


def _repair(rng: Draw) -> Family:
    """Installed where a crash was, on a fleet of which a few machines crash again and again."""
    fleet = _fleet(rng)._replace(trait_share=0.05, trait_risk=20.0)
    return _family("repair tool", fleet, _pushes(rng, (20, 240), after_crash_minutes=20.0, share=0.8, fault=None))


def _edge(rng: Draw) -> Family:
    """Exactly the tolerated risk, on everything that was installed before the first event: the share is known."""
    pushes = tuple(
        push._replace(at=-WARM_HOURS, over_minutes=0.01, share=float(rng.choice([0.1, 0.3, 0.6])))
        for push in _pushes(rng, (5, 240))
    )
    return _family("at the tolerated risk, share known", _fleet(rng), pushes)


def _known_model(rng: Draw) -> Family:
    return _simpson(rng, in_model=True)


def _unmeasured(rng: Draw) -> Family:
    return _simpson(rng, in_model=False)


def _followed(rng: Draw, kind: str, warm_hours: float, at: tuple[float, float]) -> Family:
    """Some followed for more than a day, and each rollout to one ring or one model, so that silence has its say."""
    fleet = _fleet(rng, int(rng.integers(300, 900)))
    places = [Where(ring=ring) for ring, _ in RINGS] + [Where(model=f"model-{model}") for model in range(3)]
    pushes = tuple(
        push._replace(at=float(rng.uniform(*at)), where=places[number % len(places)], fault=None)
        for number, push in enumerate(_pushes(rng, (5, 60), share=0.9)[:12])
    )
    return _family(kind, fleet, pushes, warm_hours=warm_hours, hours=6.0)


def _night(rng: Draw) -> Family:
    """From about 18 o'clock to 8 the machines of two models are off, as the night before; pushed to in the hours
    before."""
    return _followed(rng, "switched off in the evening after a push", 40.0, (0.0, 2.5))


def _unheard(rng: Draw) -> Family:
    """Soon after the pushes reports are lost for a time: of a site, a region, all, some machines of all or of these."""
    return _followed(rng, "not heard of after a push", 33.0, (0.0, 1.5))


KINDS: dict[str, Callable[[Draw], Family]] = {
    "fast": _fast, "outage": _old_outage,
    "outage-new": _new_outage, "seldom": _seldom, "tiny": _tiny, "sparse": _sparse, "ramp": _ramp, "renamed": _renamed,
    "simpson-known": _known_model, "simpson-unmeasured": _unmeasured, "repair": _repair, "edge": _edge,
    "night": _night, "unheard": _unheard, "one-site": _one_site, "skewed": _skewed,
}  # fmt: skip


def null_family(kind: str, seed: int) -> Family:
    """The family of a kind under a seed; of three in a row each tells of crashes in another way."""
    family = KINDS[kind](np.random.default_rng([seed, *kind.encode()]))
    telling = TELLINGS[seed % len(TELLINGS)]
    return family._replace(telling=telling._replace(skew_minutes=SKEW_MINUTES[seed % 4] if kind == "skewed" else 0.0))
