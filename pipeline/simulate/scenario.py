"""Scenario files: a fleet, what is rolled out to it, which update is at fault, and what else happens. TOML, typed."""

import importlib.resources
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from pipeline.runtime.config import read_toml
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.wrong import Wrong, convert, did_you_mean
from pipeline.wire.events import Name, Signature, Text
from pipeline.wire.partials import UpdateId
from pipeline.wire.spans import DAY_MS

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
AtLeastOne = Annotated[float, msgspec.Meta(ge=1)]

FASTEST = 0.0  # a speed: as fast as what it is sent to takes it. Here, for run.py is loaded with numpy
SHARE_TOLERANCE = 1e-6
MAX_DAYS = 14  # simulated times are int32 milliseconds around the scenario's start: 24 days at most
SCENARIOS = importlib.resources.files("pipeline.simulate") / "scenarios"


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a scenario file: a key that is not known is an error, not a silence."""


class SignatureShare(_Part, frozen=True, kw_only=True):
    """One of several looks that a crash may have."""

    code: Text
    module: Text
    share: Share

    @property
    def signature(self) -> Signature:
        """As it stands in an event."""
        return Signature(self.code, self.module)


class Site(_Part, frozen=True, kw_only=True):
    """A place with a share of the fleet's hosts, or `count` alike: "us" is then us-1, us-2 … with equal shares."""

    region: Text
    share: Share
    count: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1


COMMON_CRASHES = (
    SignatureShare(code="0x133", module="ntoskrnl.exe", share=0.24),
    SignatureShare(code="0x9f", module="usbxhci.sys", share=0.18),
    SignatureShare(code="0x1a", module="memory_corruption", share=0.16),
    SignatureShare(code="0x116", module="dxgkrnl.sys", share=0.14),
    SignatureShare(code="0x50", module="ntfs.sys", share=0.12),
    SignatureShare(code="0xd1", module="netwtw10.sys", share=0.10),
    SignatureShare(code="0x7e", module="win32kfull.sys", share=0.06),
)


class FleetSpec(_Part, frozen=True, kw_only=True):
    """The hosts, and how they fare when nothing is wrong. Rates are per host and day."""

    name: Name
    hosts: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
    rings: dict[Name, Share]
    os: dict[Name, Share]
    models: dict[Name, Share]
    sites: dict[Name, Site]
    offline_share: Share = 0.0  # powered off throughout: they neither report nor install
    heartbeat_minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)] = 60
    heartbeat_jitter_minutes: NotNegative = 5.0
    boots_per_host_day: NotNegative = 0.7
    crashes_per_host_day: NotNegative = 0.004
    daily_drift: Share = 0.3  # the crash rate swings by this share over the day
    report_minutes: Positive = 4.0  # from a crash to the boot that reports it: at least a minute, this on average
    signatures: tuple[SignatureShare, ...] = COMMON_CRASHES

    @property
    def places(self) -> dict[str, Site]:
        """Every site by its own name."""
        places: dict[str, Site] = {}
        for name, site in self.sites.items():
            if site.count == 1:
                places[name] = site
                continue
            one = Site(region=site.region, share=site.share / site.count)
            places |= {f"{name}-{number}": one for number in range(1, site.count + 1)}
        return places


class Fault(_Part, frozen=True, kw_only=True):
    """What the guilty update does to the hosts that it reaches (`os`: prefixes; empty lists mean all of them)."""

    crash_probability: Share = 0.0  # crashes soon after installation
    crash_minutes: Positive = 1.0  # how soon, on average
    relative_risk: AtLeastOne = 1.0  # multiplies the ordinary crash rate for as long as it is installed
    os: tuple[Name, ...] = ()
    models: tuple[Name, ...] = ()
    signatures: tuple[SignatureShare, ...]
    never_report_share: Share = 0.0  # loop before the network comes up, and are not heard of again
    loop_crashes: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1  # crashes in a row, each reported, of the others


class Rollout(_Part, frozen=True, kw_only=True):
    """One update version on its way: to everyone at once, or ring by ring."""

    vendor: Name
    product: Name
    version: Name
    release: datetime
    over_minutes: Positive  # a ring's hosts are reached evenly over this time
    revert: datetime | None = None
    share: Share = 1.0  # of the hosts that it is meant for
    os: tuple[Name, ...] = ()
    models: tuple[Name, ...] = ()
    ring_delay_minutes: dict[Name, NotNegative] = {}  # since the release; empty: every ring at once
    alongside: Text = ""  # vendor/product/version that it travels with
    alongside_share: Share = 0.0  # of that update's hosts get this one too
    fault: Fault | None = None

    @property
    def update(self) -> UpdateId:
        """The update version."""
        return UpdateId(self.vendor, self.product, self.version)


class Outage(_Part, frozen=True, kw_only=True):
    """A shock to all hosts of some sites, whatever they run: their crash rate is multiplied. No site: all of them."""

    starts: datetime
    ends: datetime
    factor: AtLeastOne
    sites: tuple[Name, ...] = ()
    signatures: tuple[SignatureShare, ...]


class Scenario(_Part, frozen=True, kw_only=True):
    """A fleet over a stretch of time. `account_at` is the moment by which losses are counted."""

    name: Name
    title: str
    starts: datetime
    ends: datetime
    account_at: datetime
    fleet: FleetSpec
    updates: tuple[Rollout, ...] = ()
    outages: tuple[Outage, ...] = ()
    with_rings: str = ""  # the same incident with a staged rollout: a scenario's name

    @property
    def guilty(self) -> frozenset[UpdateId]:
        """The updates that are at fault."""
        return frozenset(rollout.update for rollout in self.updates if rollout.fault is not None)

    @property
    def incident_at(self) -> datetime:
        """When the first guilty update is released; with none at fault, the last one before the account."""
        guilty = [rollout.release for rollout in self.updates if rollout.fault is not None]
        span = unix_ms(self.starts), unix_ms(self.account_at)
        others = [r.release for r in self.updates if span[0] < unix_ms(r.release) < span[1]]
        return min(guilty, key=unix_ms) if guilty else max(others, key=unix_ms, default=self.account_at)


def unix_ms(moment: datetime) -> int:
    """Unix time in milliseconds; a moment without offset is UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def names() -> list[str]:
    """The scenarios that come with Andon."""
    return sorted(path.name.removesuffix(".toml") for path in SCENARIOS.iterdir() if path.name.endswith(".toml"))


def load(name_or_file: str, hosts: int | None = None, fleet: str | None = None) -> Scenario:
    """A scenario by name or from a TOML file; `hosts` and `fleet` override the file.

    Raises:
        ConfigError: naming file, key and what would be right.
    """
    table = _read(name_or_file)
    overrides = {"hosts": hosts, "name": fleet}
    table["fleet"] = table.get("fleet", {}) | {key: value for key, value in overrides.items() if value is not None}
    scenario = convert(table, Scenario)
    if isinstance(scenario, Wrong):
        raise ConfigError(f"scenario {name_or_file}: {scenario}")
    for problem in _problems(scenario):
        raise ConfigError(f"scenario {name_or_file}: {problem}")
    return scenario


def _read(name_or_file: str) -> dict[str, Any]:
    path = Path(name_or_file)
    if not name_or_file.endswith(".toml"):
        if name_or_file not in names():
            raise ConfigError(
                f"scenario {name_or_file!r}: no such name; a .toml file, or one of {', '.join(names())}"
                + did_you_mean(name_or_file, names())
            )
        path = Path(str(SCENARIOS / f"{name_or_file}.toml"))
    table = read_toml(path)
    base = table.pop("extends", None)
    return _merge(_read(base), table) if isinstance(base, str) else table


def _merge(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`more` laid over `base`: tables key by key, updates version by version, everything else replaced."""
    merged = dict(base)
    for key, value in more.items():
        if key == "updates":
            merged[key] = _merge_updates(base.get(key, []), value)
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = base[key] | value
        else:
            merged[key] = value
    return merged


def _merge_updates(base: Iterable[dict[str, Any]], more: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    merged = {_version(update): update for update in base}
    for update in more:
        merged[_version(update)] = merged.get(_version(update), {}) | update
    return list(merged.values())


def _version(update: Mapping[str, Any]) -> tuple[Any, ...]:
    return update.get("vendor"), update.get("product"), update.get("version")


def _problems(scenario: Scenario) -> Iterable[str]:
    fleet = scenario.fleet
    shares = {
        "fleet.rings": fleet.rings.values(),
        "fleet.os": fleet.os.values(),
        "fleet.models": fleet.models.values(),
        "fleet.sites": [site.share for site in fleet.sites.values()],
        "fleet.signatures": [s.share for s in fleet.signatures],
    }
    for rollout in scenario.updates:
        if rollout.fault is not None:
            shares[f"signatures of {rollout.product}'s fault"] = [s.share for s in rollout.fault.signatures]
    for outage in scenario.outages:
        shares["signatures of an outage"] = [s.share for s in outage.signatures]
    for key, values in shares.items():
        if abs(sum(values) - 1) > SHARE_TOLERANCE:
            yield f"the shares of {key} sum to {sum(values):g}, they must sum to 1"
    yield from _time_problems(scenario)
    yield from _name_problems(scenario)


def _time_problems(scenario: Scenario) -> Iterable[str]:
    start, end = unix_ms(scenario.starts), unix_ms(scenario.ends)
    if not start < end <= start + MAX_DAYS * DAY_MS:
        yield f"ends = {scenario.ends} must lie after starts = {scenario.starts}, by at most {MAX_DAYS} days"
    if not start <= unix_ms(scenario.account_at) <= end:
        yield f"account_at = {scenario.account_at} must lie between starts and ends"
    for rollout in scenario.updates:
        if abs(unix_ms(rollout.release) - start) > MAX_DAYS * DAY_MS:
            yield f"release = {rollout.release} of {rollout.product}: at most {MAX_DAYS} days from starts"


def _name_problems(scenario: Scenario) -> Iterable[str]:
    seen: set[str] = set()
    for rollout in scenario.updates:
        name = "/".join(rollout.update)
        if name in seen:
            yield f"update {name} is listed twice"
        if rollout.alongside and rollout.alongside not in seen:
            yield f"alongside = {rollout.alongside!r} of {name}: no update of that name before it"
        for ring in rollout.ring_delay_minutes.keys() - scenario.fleet.rings.keys():
            yield f"ring_delay_minutes of {name}: ring {ring!r} is not among fleet.rings"
        seen.add(name)
    for outage in scenario.outages:
        for site in set(outage.sites) - scenario.fleet.places.keys():
            yield f"an outage names site {site!r}, which the fleet does not have"
