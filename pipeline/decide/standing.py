"""How updates stand: watched, cleared, halted, waiting for a person, resumed; and what people have decided of them.

Evidence is kept, whatever they decide: a resume only raises the bar.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec

from pipeline.decide.arrays import Column, Floats, Part, Plain
from pipeline.decide.orders import HaltOrder, Ruling
from pipeline.decide.spreading import Spreading as Spreading  # for who keeps both
from pipeline.wire.spans import HOUR_MS

EVERY_RING = "*"
Mode = Literal["enforce", "shadow", "pending"]
_STATES: dict[Mode, str] = {"enforce": "halted", "shadow": "shadow_halted", "pending": "pending"}


class Standing(Part):
    """`rings` below are the positions of the fleet's rings, `bucket` is stream time.

    >>> standing = Standing()
    >>> standing.impose(3, "enforce", [0, 1], bucket=100, now_ms=1_000_000)
    >>> standing.of(3, 0, "canary"), standing.of(4, 0, "canary")
    ('halted', 'watching')
    >>> standing.resume(3, ["canary"], bar=12.0)
    >>> standing.of(3, 0, "canary"), standing.of(3, 1, "broad")
    ('resumed', 'halted')
    """

    told: Annotated[Floats, Column("told", ("updates",), "log10 evidence as last published")]
    news: Annotated[list[int], Plain("news", list, "updates whose state has changed since")]
    states: Annotated[dict[int, dict[int, str]], Plain("states", dict, "state by ring", by_update=True)]
    halted: Annotated[dict[int, int], Plain("halted", dict, "bucket of the halt", by_update=True)]
    halt_times: Annotated[list[int], Plain("halt_times", list, "unix ms of halts within the hour")]
    # its order, as plain values: it waits for a person
    waiting: Annotated[dict[int, Any], Plain("waiting", dict, "order", by_update=True)]
    forced: Annotated[dict[int, list[str]], Plain("forced", dict, "rings that operators have halted", by_update=True)]
    doubted: Annotated[
        dict[int, list[str]], Plain("doubted", dict, "what speaks for others instead, as last told", by_update=True)
    ]
    # evidence (log10) that halts it again, and the rings of the resume
    resumed: Annotated[dict[int, Any], Plain("resumed", dict, "log10 evidence, rings", by_update=True)]

    def mode_now(self, shadow: bool, most_an_hour: int, now_ms: int) -> Mode:
        """How a halt that is due now is imposed, when so many an hour need no person."""
        if shadow:
            return "shadow"
        within = [at for at in self.halt_times if at > now_ms - HOUR_MS]
        return "pending" if len(within) >= most_an_hour else "enforce"

    def impose(self, update: int, mode: Mode, rings: Iterable[int], bucket: int, now_ms: int) -> None:
        """From here on the halt is in force."""
        self.halt_times = [at for at in self.halt_times if at > now_ms - HOUR_MS] + [now_ms] * (mode == "enforce")
        self.halted[update] = bucket
        self.states[update] = dict.fromkeys(rings, _STATES[mode])
        self.news.append(update)

    def wait(self, update: int, order: HaltOrder) -> None:
        """Remember an order that waits for a person, as it was when it was decided."""
        self.waiting[update] = msgspec.to_builtins(order)

    def waiting_order(self, update: int) -> HaltOrder | None:
        """The order that waits for a person, if one does."""
        return msgspec.convert(self.waiting[update], HaltOrder) if update in self.waiting else None

    def take(self, update: int, ruling: Ruling, rings: Iterable[int], bucket: int, bar: float) -> bool:
        """A ruling on the update at this position; `bar` is the evidence (log10) that a resume then asks for. Whether
        the hosts that others are compared on have changed."""
        if ruling.effect == "resumed":
            self.resume(update, ruling.rings, bar)
        elif ruling.effect == "forced":
            # It stays in the comparisons of the others: nobody has shown that its hosts crash because of it.
            self.forced[update] = sorted({*self.forced.get(update, ()), *ruling.rings})
        elif ruling.effect == "released":
            self.states[update] = dict.fromkeys(rings, "halted")
        elif EVERY_RING in ruling.rings:
            self.resumed.pop(update, None)
            self.halted[update] = bucket
            self.states[update] = dict.fromkeys(rings, "halted")
        else:
            self.resumed.pop(update, None)
            self.forced[update] = sorted(ruling.rings)
        self.waiting.pop(update, None)
        self.news.append(update)
        return ruling.effect == "resumed" or (ruling.effect == "lapsed" and EVERY_RING in ruling.rings)

    def resume(self, update: int, rings: Iterable[str], bar: float) -> None:
        """Evidence since then, a supermartingale of its own, has to reach the policy's `resumed_bar` by itself."""
        self.resumed[update] = [bar, sorted(rings)]
        for gone in (self.halted, self.forced, self.states):
            gone.pop(update, None)

    def doubt(self, update: int, doubted_for: Sequence[str]) -> None:
        """It is told what later evidence speaks for instead of this halt; nothing, if it stands to reason."""
        self.doubted.pop(update, None)
        if doubted_for:
            self.doubted[update] = list(doubted_for)

    def of(self, update: int, ring: int, name: str) -> str:
        """The state of an update in a ring, by its position and name."""
        if _names(self.forced.get(update, ()), name):
            return "halted"
        if update in self.resumed and update not in self.halted:
            return "resumed" if _names(self.resumed[update][1], name) else "halted"
        return self.states.get(update, {}).get(ring, "halted" if update in self.halted else "watching")

    def told_everywhere(self, update: int) -> bool:
        """Whether every ring has a verdict on it, reached or not."""
        return update in self.halted or update in self.resumed or update in self.forced

    def judged_rings(self, update: int, rings: Iterable[int]) -> list[int]:
        """Rings in which it is more than watched."""
        if update in self.resumed or update in self.forced:
            return list(rings)
        return list(self.states.get(update, {}))


def _names(rings: Sequence[str], name: str) -> bool:
    return EVERY_RING in rings or name in rings
