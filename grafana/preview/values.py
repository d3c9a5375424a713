"""How a value looks: the words of its unit, its mapping, its colour. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from grafana.preview.frames import Field, Frame, Json, Value

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8C8C8C")  # colour-blind safe
_SHORT = (("", 1.0), (" K", 1e3), (" Mil", 1e6), (" Bil", 1e9), (" Tri", 1e12))
_SPANS = (("year", 31_536_000), ("month", 2_628_000), ("week", 604_800), ("day", 86_400), ("hour", 3600),
          ("minute", 60), ("second", 1))  # fmt: skip
_BYTES = ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"))
_RATES = {"cps": "c/s", "cpm": "c/m", "ops": "ops/s", "reqps": "req/s", "rps": "rd/s", "wps": "wr/s"}
_SECONDS = ((1e-6, "ns", 1e9), (1e-3, "µs", 1e6), (1, "ms", 1e3), (60, "s", 1), (3600, "mins", 1 / 60),
            (86_400, "hours", 1 / 3600), (604_800, "days", 1 / 86_400), (31_536_000, "weeks", 1 / 604_800))  # fmt: skip


class Look(NamedTuple):
    """What is shown of a value, and the colour of its threshold or mapping; "" for none."""

    text: str
    colour: str = ""


class Config(NamedTuple):
    """Of one field: the panel's defaults, and over them its overrides."""

    settings: Mapping[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """By its path, `custom.width` for instance."""
        return self.settings.get(name, default)


def config_of(panel: Json, name: str, kind: str = "") -> Config:
    """Of the field that is shown by this name, and holds this kind of values. Raises ValueError for a matcher that the
    preview does not know."""
    defaults = panel["fieldConfig"]["defaults"]
    found = {key: value for key, value in defaults.items() if key != "custom"}
    found |= {f"custom.{key}": value for key, value in defaults.get("custom", {}).items()}
    for each in panel["fieldConfig"]["overrides"]:
        matcher, wanted = each["matcher"]["id"], each["matcher"]["options"]
        if matcher not in ("byName", "byType"):
            raise ValueError(f"the preview knows no matcher {matcher}")
        if wanted == (name if matcher == "byName" else kind):
            found |= {prop["id"]: prop.get("value") for prop in each["properties"]}
    return Config(found)


def name_of(panel: Json, field: Field, frames: Sequence[Frame]) -> str:
    """What a series or a column is called."""
    wanted = str(panel["fieldConfig"]["defaults"].get("displayName") or "")
    if wanted:
        for label, value in field.labels.items():
            wanted = wanted.replace(f"${{__field.labels.{label}}}", value)
        return wanted.replace("${__field.name}", field.name)
    if field.name_as_told:
        return field.name_as_told
    labels = {label for frame in frames for each in frame.fields for label in each.labels}
    if not labels or not field.labels:
        return field.name
    if len(labels) == 1:
        return f"{field.name} {next(iter(field.labels.values()))}"
    return f"{field.name} {{{', '.join(f'{key}={value!r}' for key, value in field.labels.items())}}}"


def look(value: Value, config: Config) -> Look:
    """Text and colour of it. Nothing, and a text without letters, are the words for "no value", as in Grafana."""
    if value is None or value == "":
        return Look(str(config.get("noValue") or ""))
    for mapping in config.get("mappings") or ():
        key = f"{value:g}" if isinstance(value, float) else value
        found = mapping["options"].get(key) if mapping["type"] == "value" else None
        if found is not None:
            return Look(str(found.get("text", value)), str(found.get("color") or _colour(value, config)))
    return Look(text_of(value, str(config.get("unit") or ""), config.get("decimals")), _colour(value, config))


def _colour(value: Value, config: Config) -> str:
    mode = config.get("color") or {}
    if mode.get("mode") == "fixed":
        return str(mode["fixedColor"])
    steps = (config.get("thresholds") or {}).get("steps") or []
    reached = [step["color"] for step in steps if step["value"] is None or _at_least(value, step["value"])]
    return str(reached[-1]) if reached else ""


def _at_least(value: Value, limit: float) -> bool:
    return isinstance(value, float) and value >= limit


def text_of(value: float | str, unit: str, decimals: int | None = None) -> str:
    """In the words of Grafana's units, those that the dashboards use. Raises ValueError for another."""
    if isinstance(value, str):
        return value
    if unit.startswith("dateTime"):
        return f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    if unit not in _UNITS:
        raise ValueError(f"the preview knows no unit {unit}")
    return _UNITS[unit](value, decimals)


def _digits(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def _scaled(value: float, decimals: int | None) -> str:
    suffix, size = next(((s, at) for s, at in reversed(_SHORT) if abs(value) >= at), _SHORT[0])
    return _digits(value / size, decimals) + suffix


def _seconds(value: float, decimals: int | None) -> str:
    for limit, suffix, factor in _SECONDS:
        if abs(value) < limit:
            return f"{_digits(value * factor, decimals)} {suffix}"
    return f"{_digits(value / 31_536_000, decimals)} years"


def _bytes(value: float, decimals: int | None) -> str:
    size, suffix = next(((2.0**power, s) for power, s in _BYTES if abs(value) >= 2**power), (1.0, "B"))
    return f"{_digits(value / size, decimals)} {suffix}"


def _rate(word: str, value: float, decimals: int | None) -> str:
    return f"{_scaled(value, decimals)} {word}"


def _duration(value: float, _: int | None) -> str:
    """The two largest units of it."""
    left, found = abs(value), []
    for name, size in _SPANS:
        count = int(left // size)
        if count:
            found.append(f"{count} {name}{'s' if count > 1 else ''}")
            left -= count * size
        if len(found) == 2:
            break
    return ", ".join(found) or "0 seconds"


_UNITS: Mapping[str, Callable[[float, int | None], str]] = {
    "": _digits,
    "none": _digits,
    "short": _scaled,
    "percentunit": lambda value, decimals: _digits(value * 100, decimals) + "%",
    "bytes": _bytes,
    "Bps": lambda value, decimals: _bytes(value, decimals) + "/s",
    "percent": lambda value, decimals: _digits(value, decimals) + "%",
    "s": _seconds,
    "ms": lambda value, decimals: _seconds(value / 1000, decimals),
    "dtdurations": _duration,
    **{unit: partial(_rate, word) for unit, word in _RATES.items()},
}
