"""What a decision asks for: an order is a halt before it has an epoch, an expiry and a signature."""

from typing import Literal, NamedTuple

from pipeline.wire.halts import Evidence
from pipeline.wire.partials import UpdateId
from pipeline.wire.record_keys import update_key
from pipeline.wire.verdicts import FleetAlarm as FleetAlarm
from pipeline.wire.verdicts import Verdict


class HaltOrder(NamedTuple):
    """Stop this update in these rings ("*" is every ring). Only an `enforce` order may go onto `fleet.halts`: a
    `shadow` one says what would have been halted, a `pending` one waits for a person (too many halts in an hour)."""

    mode: Literal["enforce", "shadow", "pending"]
    fleet: str
    vendor: str
    product: str
    version: str
    rings: tuple[str, ...]
    policy: str  # digest of the policy that decided
    reason: str
    evidence: Evidence

    @property
    def key(self) -> str:
        """The key of the halt that it asks for."""
        return update_key(self.fleet, self.vendor, self.product, self.version)


class Ruling(NamedTuple):
    """What people have decided of an update, in these rings: `forced` halts it, `released` halts what waited for them,
    `resumed` lifts the halt, and when a resume `lapsed` the halt stands again."""

    effect: Literal["forced", "released", "resumed", "lapsed"]
    update: UpdateId
    rings: tuple[str, ...]


class Stance(NamedTuple):
    """What a detector says of an update to whoever rules on it: the digest of its policy, the longest that a resume may
    stand (ms), and the order that waits for a person, if one does."""

    policy: str
    max_resume_ms: int
    waiting: HaltOrder | None


class Decisions(NamedTuple):
    """What one step concluded: verdicts that are news, halts, and the fleet's alarm when there is news of it."""

    verdicts: tuple[Verdict, ...]
    halts: tuple[HaltOrder, ...]
    alarm: FleetAlarm | None = None


class Brief(NamedTuple):
    """Decisions without verdicts: of the updates that they would be on, the evidence (log10) that they would give."""

    evidence: dict[UpdateId, float]
    halts: tuple[HaltOrder, ...]
    alarms: tuple[FleetAlarm, ...] = ()
