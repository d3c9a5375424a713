"""Every family, by kind. The kinds are those that the bake-off promises, in their order: a test holds them together."""

from pipeline.bakeoff.families import guilty, innocent, ordinary, telling
from pipeline.bakeoff.spec import Family

FAMILIES: tuple[Family, ...] = (
    *guilty.FAMILIES, *telling.FAMILIES, *innocent.FAMILIES, *ordinary.FAMILIES,
)  # fmt: skip

KINDS = (
    "fault size", "one ring, model, system, region", "new signature amid many crashes", "co-deployed innocents",
    "eight in one hour", "two guilty", "only together", "late onset, slow burn, date bomb", "all at once",
    "tiny canary", "servers", "never crashed", "next boot only", "hours late", "silent machines", "sampled telemetry",
    "clock skew", "duplicates and disorder", "re-imaged hosts", "versions", "patch Tuesday", "ramps", "drift",
    "daily cycles", "weekends", "outages around a push", "power cuts", "flaky hosts", "Simpson by model",
    "reverse causality", "renamed modules", "forging minorities", "small fleets", "one module, many codes",
    "half-blind telemetry", "silence of another cause",
)  # fmt: skip

# One small family of every kind, for a look in two minutes.
QUICK: tuple[str, ...] = tuple(
    min((f for f in FAMILIES if f.kind == kind), key=lambda f: f.fleet.hosts * (f.warm_hours + f.hours)).name
    for kind in KINDS
)
