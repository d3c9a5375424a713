"""The second look at an event that strict decoding refused: what is a side issue is mended, and counted. Pure.

An event is never lost for a part that it could do without. What is mended, and how, is the list of `Noted`; what makes
the event (who, when, which kind, which ring) is never guessed.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pipeline.wire.events import ANCIENT_MS, LATEST_MS, MAX_TEXT_CHARS, MAX_UPDATES
from pipeline.wire.noted import Noted
from pipeline.wire.spans import DAY_MS

RECENT_MS = 7 * DAY_MS  # what `updates` is meant to list
# The units that a moment may be in, and how many of each are a millisecond. Their ranges are far apart.
UNITS = (("milliseconds", 1), ("seconds", 1e-3), ("microseconds", 1e3), ("nanoseconds", 1e6))

_LARGEST = 2**63  # of a number that is a time: others may not even fit a float
_DRIVER = re.compile(r"driver|firmware|bios\b|chipset|\.(sys|inf)\b", re.IGNORECASE)
_NAMES = ("vendor", "product", "version")

Fields = dict[str, Any]  # of a decoded JSON object
Mends = dict[Noted, int]


def mend(fields: Fields, mends: Mends) -> None:
    """Replace in an event's fields what can be mended; `mends` counts what was."""
    for name in ("region", "site"):
        _mend_place(fields, name, mends)
    if isinstance(ts := fields.get("ts"), float) and ts.is_integer():
        fields["ts"] = int(ts)
        _count(mends, Noted.TIME_FORM)
    if fields.get("kind") == "boot" and fields.get("prior_ended_at") is not None:
        fields["prior_ended_at"] = _moment(fields["prior_ended_at"], None, Noted.PRIOR_ENDED_AT_UNUSABLE, mends)
    if fields.get("kind") == "crash" and isinstance(signature := fields.get("signature"), dict):
        _mend_text(signature, "code", lambda text: text[:MAX_TEXT_CHARS], mends)
        _mend_text(signature, "module", _last_part, mends)
    if isinstance(updates := fields.get("updates"), list):
        fields["updates"] = _updates(updates, fields.get("ts"), mends)
    if "removed" in fields:
        fields["removed"] = _removed(fields["removed"], fields.get("ts"), mends)


def unit_of(value: object) -> tuple[str, int] | None:
    """The unit in which a number is a moment between 2020 and 2100, and the moment (unix ms)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST < value < _LARGEST:
        return None
    for unit, in_a_ms in UNITS:
        if ANCIENT_MS <= value / in_a_ms <= LATEST_MS:
            return unit, int(value / in_a_ms)
    return None


def _mend_place(fields: Fields, name: str, mends: Mends) -> None:
    if name not in fields or (isinstance(fields[name], str) and len(fields[name]) <= MAX_TEXT_CHARS):
        return
    _count(mends, Noted.NULL_TEXT if fields.pop(name) is None else Noted.PLACE_UNUSABLE)


def _mend_text(fields: Fields, name: str, shortened: Callable[[str], str], mends: Mends) -> None:
    text = fields.get(name, "")
    if text is None:
        fields[name] = ""
        _count(mends, Noted.NULL_TEXT)
    elif isinstance(text, str) and len(text) > MAX_TEXT_CHARS:
        fields[name] = shortened(text)
        _count(mends, Noted.SIGNATURE_CUT)


def _last_part(path: str) -> str:
    """A module's name without its folders; of a name that is still too long, the end."""
    return re.split(r"[\\/]", path)[-1][-MAX_TEXT_CHARS:]


def _updates(listed: list[Any], ts: Any, mends: Mends) -> list[Fields]:
    """Those that can be used, at most MAX_UPDATES, in their order."""
    usable = [update for update in listed if isinstance(update, dict) and all(map(_is_name, map(update.get, _NAMES)))]
    if len(usable) < len(listed):
        _count(mends, Noted.UPDATES_UNUSABLE, len(listed) - len(usable))
    for update in usable:
        update["installed_at"] = _moment(update.get("installed_at"), ANCIENT_MS, Noted.INSTALLED_AT_UNUSABLE, mends)
    _doubt_versions(usable)
    if len(usable) <= MAX_UPDATES:
        return usable
    _count(mends, Noted.UPDATES_CUT, len(usable) - MAX_UPDATES)
    since_ms = ts - RECENT_MS if isinstance(ts, int) else ANCIENT_MS
    ranked = sorted(range(len(usable)), key=lambda place: _rank(usable[place], since_ms), reverse=True)
    return [usable[place] for place in sorted(ranked[:MAX_UPDATES])]


def _removed(listed: Any, ts: Any, mends: Mends) -> list[Fields]:
    """The same of what was taken off again. Removed at an unknown time, it counts as long gone."""
    usable = _updates(listed if isinstance(listed, list) else [], ts, mends)
    for update in usable:
        update["removed_at"] = _moment(update.get("removed_at"), ANCIENT_MS, Noted.REMOVED_AT_UNUSABLE, mends)
    return usable


def _doubt_versions(updates: list[Fields]) -> None:
    """Where one version of a product has no time, nobody knows which came last: the others have none either. Else the
    crashes of a version whose sender misdates it would be blamed on the one before."""
    undated: dict[tuple[str, str], set[str]] = {}
    for update in updates:
        if update["installed_at"] == ANCIENT_MS:
            undated.setdefault((update["vendor"], update["product"]), set()).add(update["version"])
    if undated:
        for update in updates:
            versions = undated.get((update["vendor"], update["product"]), set())
            if len(versions) > (update["version"] in versions):
                update["installed_at"] = ANCIENT_MS


def _rank(update: Fields, since_ms: int) -> tuple[bool, bool, int]:
    """What to keep of too many: what is of these days before what is not; of each drivers first; then the newest."""
    is_driver = any(_DRIVER.search(update[name]) for name in ("vendor", "product"))
    return update["installed_at"] >= since_ms, is_driver, update["installed_at"]


def _is_name(text: Any) -> bool:
    return isinstance(text, str) and 0 < len(text) <= MAX_TEXT_CHARS


def _moment(value: Any, otherwise: int | None, unusable: Noted, mends: Mends) -> int | None:
    """The moment (unix ms) that a value plainly means; `otherwise` when it means none."""
    if isinstance(value, int) and ANCIENT_MS <= value <= LATEST_MS:
        return value
    at_ms = _of_text(value) if isinstance(value, str) else found[1] if (found := unit_of(value)) else None
    _count(mends, unusable if at_ms is None else Noted.TIME_FORM)
    return otherwise if at_ms is None else at_ms


def _of_text(text: str) -> int | None:
    """ISO 8601 with a time zone; of one without, nobody knows when it was."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    at_ms = int(moment.timestamp() * 1000)
    return at_ms if ANCIENT_MS <= at_ms <= LATEST_MS else None


def _count(mends: Mends, what: Noted, times: int = 1) -> None:
    mends[what] = mends.get(what, 0) + times
