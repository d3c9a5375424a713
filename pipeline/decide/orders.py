"""What a decision asks for: an order is a halt before it has an epoch, an expiry and a signature."""

from typing import Literal, NamedTuple

from pipeline.wire.halts import Evidence
from pipeline.wire.record_keys import update_key
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


class Decisions(NamedTuple):
    """What one step concluded: verdicts that are news, and halts."""

    verdicts: tuple[Verdict, ...]
    halts: tuple[HaltOrder, ...]
