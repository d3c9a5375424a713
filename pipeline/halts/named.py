"""Whether an update that somebody names is known to Kafka; else what may have been meant."""

from pipeline.halts.known import Known
from pipeline.runtime.errors import AndonError
from pipeline.runtime.logging import printable
from pipeline.runtime.wrong import did_you_mean
from pipeline.wire.record_keys import fleet_of

SHOWN = 5


def check(known: Known, key: str) -> None:
    """Raises AndonError when no record stands under this key."""
    if key in known.named or any(doubt.key == key for doubt in known.record.doubts()):
        return
    fleet = fleet_of(key.encode())
    fleets = sorted({fleet_of(name.encode()) for name in known.named} | set(known.record.beats))
    if fleet not in fleets:
        raise AndonError(f"fleet '{printable(fleet)}' is unknown: {_there(fleets)}{_near(fleet, fleets)}")
    names = sorted(name for name in known.named if fleet_of(name.encode()) == fleet)
    raise AndonError(f"{printable(key)} is unknown: {_there(names)}{_near(key, names)}")


def _there(names: list[str]) -> str:
    if not names:
        return "Kafka has none yet"
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"Kafka has {', '.join(map(printable, names[:SHOWN]))}{more}"


def _near(name: str, names: list[str]) -> str:
    return printable(did_you_mean(name, names))
