"""Policy: what a false halt may cost and what may halt, per vendor and product, from TOML."""

import hashlib
import tomllib
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from pipeline.decide.arrays import Floats
from pipeline.decide.name_index import MAX_RINGS, Registry
from pipeline.runtime.wrong import Wrong, convert, did_you_mean, unknown
from pipeline.wire.partials import UpdateId

Meta = msgspec.Meta


class PolicyError(ValueError):
    """A policy file that cannot be used; names the key, the value and what would be right."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one update is judged."""

    mode: Literal["enforce", "shadow"] = "enforce"
    # The false-halt budget: at most alpha per update version, so alpha * versions a year.
    alpha: Annotated[float, Meta(gt=0, le=0.1)] = 1e-6
    # rho: the relative risk that an update may have without being called harmful.
    tolerated_risk: Annotated[float, Meta(ge=1, le=10)] = 1.5
    minimum_crashed_hosts: Annotated[int, Meta(ge=1, le=1_000_000)] = 3
    historical_may_halt: bool = True
    max_halts_per_hour: Annotated[int, Meta(ge=0, le=10_000)] = 4
    # `cleared` means: no relative risk above this was found. A small canary can only answer for a large one.
    clear_risk: Annotated[float, Meta(gt=1, le=1000)] = 2.0
    clear_risk_by_ring: dict[str, Annotated[float, Meta(gt=1, le=1000)]] = {}
    clear_alpha: Annotated[float, Meta(gt=0, le=0.5)] = 0.01
    # The longest delay after which a crashed host is still expected to report: nothing is cleared before.
    reporting_delay_minutes: Annotated[float, Meta(ge=0, le=10_080)] = 60.0
    # A power cut crashes a whole site at once and is one event: crashes counted per site and minute.
    # It belongs to no single update, so only [default] may say it.
    crashes_per_site_minute: Annotated[int, Meta(ge=1, le=1_000_000)] = 3
    # The fleet's unattributed alarm: at most this chance of a false one a day. It is of no update: only [default].
    alarm_alpha: Annotated[float, Meta(gt=0, le=0.1)] = 0.001
    # After a resume the evidence is kept: the same update halts again only when it has grown by this (log10) since, so
    # that what is new must reach by itself what alpha asks for.
    resumed_bar: Annotated[float, Meta(ge=0, le=1_000)] = 6.0
    # The longest that operators may let a resume stand.
    max_resume_hours: Annotated[float, Meta(gt=0, le=8_760)] = 168.0

    @property
    def digest(self) -> str:
        """Names this policy in halts: the first 12 hex digits of the SHA-256 of its canonical JSON."""
        fields = msgspec.to_builtins(self)
        for key in YOUNGER_KEYS & fields.keys():
            if fields[key] == getattr(BUILT_IN, key):
                del fields[key]  # a policy that does not set them has the name that it had before there were any
        return hashlib.sha256(msgspec.json.encode(fields, order="sorted")).hexdigest()[:12]

    def clear_risk_in(self, ring: str) -> float:
        """The relative risk that must be ruled out to clear an update in `ring`."""
        return self.clear_risk_by_ring.get(ring, self.clear_risk)


BUILT_IN = Policy()
YOUNGER_KEYS = frozenset({"resumed_bar", "max_resume_hours", "alarm_alpha"})
KEYS = frozenset(field.name for field in msgspec.structs.fields(Policy))
TABLES = frozenset({"default", "update"})
RULE_KEYS = KEYS - {"crashes_per_site_minute", "alarm_alpha"} | {"vendor", "product"}


class Rule(msgspec.Struct, frozen=True):
    """A policy for the updates of a vendor, or of one of its products ("*" is every one)."""

    vendor: str
    product: str
    policy: Policy


class PolicySet(msgspec.Struct, frozen=True):
    """The default policy and its exceptions; of several rules that match, the last one holds."""

    default: Policy = Policy()
    rules: tuple[Rule, ...] = ()

    def for_update(self, update: UpdateId) -> Policy:
        """The policy that judges `update`."""
        for rule in reversed(self.rules):
            if rule.vendor in ("*", update.vendor) and rule.product in ("*", update.product):
                return rule.policy
        return self.default


class PolicyTable:
    """Policies by position, as of the last `read`."""

    def __init__(self, policies: PolicySet) -> None:
        self.policies = policies
        self.tolerated: Floats = np.ones(8)  # (U,) relative risks
        self.clear_risks: Floats = np.ones((MAX_RINGS, 8))  # (R, U) the relative risks to rule out
        self._by_update: list[Policy] = []
        self._read_at = (-1, -1)  # how often names of updates and rings had come or gone

    def read(self, names: Registry, size: int) -> None:
        """Look up the updates that are known now; the arrays get room for `size` of them."""
        changes = names.updates.changes, names.rings.changes
        if self._read_at == changes:
            return
        self._read_at, default = changes, self.policies.default
        found = [self.policies.for_update(name) if name else default for name in names.updates.names]
        self._by_update = found
        risks = [policy.tolerated_risk for policy in found]
        self.tolerated = np.array(risks + [default.tolerated_risk] * (size - len(risks)))
        self.clear_risks = np.full((MAX_RINGS, size), default.clear_risk)
        for ring, name in names.rings.live():
            self.clear_risks[ring, : len(found)] = [policy.clear_risk_in(name) for policy in found]

    def of(self, update: int) -> Policy:
        """The policy of an update by its position."""
        return self._by_update[update]


def load_policies(text: str) -> PolicySet:
    """Read `[default]` and `[[update]]` tables (vendor, product, and any policy key).

    Raises:
        PolicyError: naming the table, the key, the value and what would be right.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"policy: not valid TOML: {error}") from None
    for name in sorted(set(document) - TABLES):
        raise PolicyError(f"policy: {_misplaced(name, document[name])}")
    default = _policy("[default]", document.get("default", {}))
    tables = document.get("update", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise PolicyError("policy: `update` is a list of tables: write [[update]]")
    rules = [_rule(f"[[update]] number {i}", table, default) for i, table in enumerate(tables, 1)]
    return PolicySet(default=default, rules=tuple(rules))


def _misplaced(name: str, value: Any) -> str:
    """What stands at the top of a file and has no place there, and where it was meant to stand."""
    if near := did_you_mean(name, TABLES):
        return f"unknown table [{name}]{near.replace('update', '[[update]]').replace('default', '[default]')}"
    if name in RULE_KEYS | KEYS or not isinstance(value, dict):
        near = "" if name in RULE_KEYS | KEYS else did_you_mean(name, RULE_KEYS | KEYS)
        place = (
            "[[update]]" if name in ("vendor", "product") else "[default], or under [[update]] for some updates only"
        )
        return f"{name} = {value!r} stands outside of a table{near}: write it under {place}"
    return f"unknown table [{name}]; known: [default], and [[update]] with `vendor`, and `product` if for one only"


def _rule(where: str, table: dict[str, Any], default: Policy) -> Rule:
    for key in table.keys() - RULE_KEYS:
        why = " (only [default] may set it)" if key in KEYS else ""
        raise PolicyError(f"policy: {where} {unknown(key, table[key], RULE_KEYS)}{why}")
    keys = dict(table)
    vendor, product = keys.pop("vendor", None), keys.pop("product", "*")
    if not isinstance(vendor, str) or not isinstance(product, str):
        raise PolicyError(f"policy: {where}: needs vendor (a text) and may have product (a text)")
    return Rule(vendor, product, _policy(where, msgspec.to_builtins(default) | keys))


def _policy(where: str, keys: dict[str, Any]) -> Policy:
    if not isinstance(keys, dict):
        raise PolicyError(f"policy: {where} = {keys!r}: should be a table of keys")
    policy = convert(keys, Policy)
    if isinstance(policy, Wrong):
        raise PolicyError(f"policy: {where} {policy}")
    return policy
