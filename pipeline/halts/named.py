"""What somebody names on the command line: an update, perhaps with its fleet; and whether Kafka knows it, else what may
have been meant."""

from typing import Any
from urllib.parse import unquote

import click

from consumers.rollout.params import Name
from pipeline.halts.known import Known
from pipeline.halts.reading import read
from pipeline.halts.where import Where
from pipeline.runtime.errors import AndonError
from pipeline.runtime.logging import printable
from pipeline.runtime.wrong import did_you_mean
from pipeline.wire.record_keys import fleet_of

SHOWN = 5


class HaltName(click.ParamType):
    """VENDOR/PRODUCT/VERSION, or with FLEET/ before it as lists print it; a "/" inside of a name is %2F."""

    name = "[FLEET/]VENDOR/PRODUCT/VERSION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Three names, or four."""
        parts = tuple(unquote(part) for part in str(value).split("/"))
        if len(parts) not in (3, 4):
            self.fail(f"{value!r} has {len(parts)} part(s): should be {self.name}; a / inside of a name is %2F", param)
        return tuple(Name().convert(part, param, ctx) for part in parts)


def whose(place: Where, fleet: str | None, name: tuple[str, ...] = ()) -> tuple[str, tuple[str, str, str]]:
    """The fleet that is meant, and the update; without a word about the fleet, the one that there is.

    Raises:
        UsageError: when two fleets are named, or none is and there are several, or none.
        AndonError: when Kafka does not answer in time.
    """
    own, update = (name[0] if len(name) == 4 else "", name[-3:])
    if own and fleet and own != fleet:
        raise click.UsageError(f"{printable('/'.join(name))} is of fleet '{printable(own)}', not '{printable(fleet)}'")
    vendor, product, version = update or ("", "", "")
    return own or fleet or _only(place), (vendor, product, version)


def _only(place: Where) -> str:
    found = fleets(read(place.kafka, Known(place.trusted)))
    if len(found) != 1:
        raise click.UsageError(f"--fleet is needed, or FLEET/VENDOR/PRODUCT/VERSION: {_there(found)}")
    return found[0]


def fleets(known: Known) -> list[str]:
    """Those that any record is of, in order."""
    return sorted({fleet_of(name.encode()) for name in known.named} | set(known.record.beats))


def check(known: Known, key: str) -> None:
    """Raises AndonError when no record stands under this key."""
    if key in known.named or any(doubt.key == key for doubt in known.record.doubts()):
        return
    fleet = fleet_of(key.encode())
    if fleet not in (there := fleets(known)):
        raise AndonError(f"fleet '{printable(fleet)}' is unknown: {_there(there)}{_near(fleet, there)}")
    names = sorted(name for name in known.named if fleet_of(name.encode()) == fleet)
    raise AndonError(f"{printable(key)} is unknown: {_there(names)}{_near(key, names)}")


def _there(names: list[str]) -> str:
    if not names:
        return "Kafka has none yet"
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"Kafka has {', '.join(map(printable, names[:SHOWN]))}{more}"


def _near(name: str, names: list[str]) -> str:
    return printable(did_you_mean(name, names))
