"""Which backups stay: the newest of each of the last days and weeks, and always the last good one. Pure."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pipeline.backup.manifest import Manifest


class Kept(NamedTuple):
    """What `prune` decides: the ids that stay, each with why, and those that go."""

    stay: dict[str, str]
    go: list[str]


def keep(backups: Sequence[Manifest], daily: int, weekly: int, is_good: Callable[[Manifest], bool]) -> Kept:
    """Of backups, the oldest first.

    A day or a week without one takes none of the places, so that a machine that was off for a month comes back to what
    it had. Of a day that counts which is the newest good one: a later one that cannot be restored takes no place.
    """
    stay: dict[str, str] = {}
    days: set[str] = set()
    weeks: set[str] = set()
    for backup in reversed(backups):
        at = datetime.fromtimestamp(backup.began_at / 1000, UTC)
        day, week = f"{at:%Y-%m-%d}", f"{at:%G week %V}"
        is_new_day, is_new_week = day not in days and len(days) < daily, week not in weeks and len(weeks) < weekly
        if not (is_new_day or is_new_week or not stay) or not is_good(backup):
            continue
        reasons = ["the last good one"] if not stay else []
        if is_new_day:
            days.add(day)
            reasons.append(f"the newest of {day}")
        if is_new_week:
            weeks.add(week)
            reasons.append(f"the newest of {week}")
        stay[backup.id] = ", ".join(reasons)
    if not stay and backups:  # nothing is good: then nobody knows what may still be of use
        stay = {backup.id: "none is good: nothing goes" for backup in backups}
    return Kept(stay, [backup.id for backup in backups if backup.id not in stay])


def unneeded(objects: set[str], staying: Sequence[Manifest]) -> set[str]:
    """Objects of the store that no backup that stays needs."""
    return objects - set().union(*(backup.objects for backup in staying))
