"""Which orders are to be handed over now, how often, and what is acknowledged. Pure; times in seconds of one clock that
never goes back.
"""

import heapq
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from consumers.rollout.orders import Action, Order
from pipeline.wire.acks import AckStatus

SETTLED = ("confirmed", "effective", "ignored")  # after these an order is not handed over again
MAX_DETAIL_CHARS = 1_000

Status = Literal["requested", "confirmed", "effective", "ignored"]  # what a handler may answer


class Pace(NamedTuple):
    """How often. An order that raised is tried again after 1, 2, 4 … seconds, then is `failed`, and so is one whose
    handler does not return in time; `failed` and `requested` are handed over again after `again_seconds`."""

    again_seconds: float = 60.0
    handler_seconds: float = 60.0
    attempts: int = 4
    backoff_seconds: float = 1.0
    max_backoff_seconds: float = 30.0
    doubt_seconds: float = 2.0  # the correlator puts back what was spoilt: for so long a doubt may pass


class Outcome(NamedTuple):
    """What is to be acknowledged."""

    order: Order
    status: AckStatus
    detail: str


class _Duty:
    """One order on its way to being obeyed."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.failures = 0
        self.began: float | None = None  # its handler runs since then
        self.is_late = False  # and has been given up
        self.is_settled = False
        self.is_current = True
        self.ticket = 0


_Id = tuple[int, Action, tuple[str, ...], tuple[str, ...]]
_Place = tuple[str, _Id]


class Duties:
    """Of one subscriber. `hold` says what holds now; `due` gives what is to be handed over, `returned` and `overdue`
    what came of it. At most one handler of a key runs, but for one that hangs: then another order of its key may."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._keys: dict[str, dict[_Id, _Duty]] = {}
        self._queue: list[tuple[float, bool, int, int, _Place]] = []  # when, doubtful, the newest first, ticket
        self._ticket = 0
        self._running: dict[_Place, _Duty] = {}
        self._held_back: dict[str, list[_Id]] = {}
        self._last: dict[str, tuple[int, Action]] = {}  # by key: what was settled last, by whoever had this name
        self._done: dict[str, set[tuple[int, Action]]] = {}

    # -- what holds

    def remember(self, key: str, epoch: int, action: Action, status: AckStatus) -> None:
        """An acknowledgement that this subscriber gave before, in the order in which they stand on the topic."""
        if status in SETTLED:
            self._settle(key, epoch, action)

    def _settle(self, key: str, epoch: int, action: Action) -> None:
        newest = self._last.get(key, (0, action))[0]
        if epoch >= newest:
            self._last[key] = epoch, action
            done = self._done.setdefault(key, set())
            done -= {each for each in done if each[0] < epoch}
            done.add((epoch, action))

    def hold(self, orders: Mapping[str, tuple[Order, ...]], now: float) -> None:
        """Of each of these keys these orders hold from now on, and no others; of all other keys what held."""
        for key, held in orders.items():
            duties = self._keys.setdefault(key, {})
            wanted = {order.identity for order in held}
            for identity, duty in list(duties.items()):
                if identity not in wanted:
                    duty.is_current = False
                    if duty.began is None:
                        del duties[identity]
            for order in held:
                known = duties.get(order.identity)
                if known is None or not known.is_current:
                    self._begin(duties, order, len(held) > 1, now)
                else:
                    known.order = order  # a renewal, or another doubt
            if not duties:
                del self._keys[key]

    def _begin(self, duties: dict[_Id, _Duty], order: Order, is_one_of_two: bool, now: float) -> None:
        known = duties.get(order.identity)
        if known is not None:  # it held before, and its handler still runs
            known.order, known.is_current = order, True
            return
        duty = duties[order.identity] = _Duty(order)
        this = order.epoch, order.action
        was_done = this in self._done.get(order.key, ()) if is_one_of_two else this == self._last.get(order.key)
        duty.is_settled = was_done
        if not was_done:
            self._plan(duty, now + (self._pace.doubt_seconds if order.doubt else 0.0))

    def _plan(self, duty: _Duty, at: float) -> None:
        self._ticket += 1
        duty.ticket, order = self._ticket, duty.order
        place = order.key, order.identity
        heapq.heappush(self._queue, (at, bool(order.doubt), -order.issued_at, duty.ticket, place))

    # -- handing over

    def due(self, now: float, room: int) -> Iterator[Order]:
        """What is to be handed over now, at most so many; each counts as begun."""
        while room and self._queue and self._queue[0][0] <= now:
            _, _, _, ticket, (key, identity) = heapq.heappop(self._queue)
            duty = self._keys.get(key, {}).get(identity)
            if duty is None or duty.ticket != ticket or duty.is_settled or duty.began is not None:
                continue
            if any(other.began is not None and not other.is_late for other in self._keys[key].values()):
                self._held_back.setdefault(key, []).append(identity)  # until the other order of its key has returned
                continue
            duty.began, duty.is_late = now, False
            self._running[key, identity] = duty
            room -= 1
            yield duty.order

    def _release(self, key: str, now: float) -> None:
        for identity in self._held_back.pop(key, ()):
            duty = self._keys.get(key, {}).get(identity)
            if duty is not None:
                self._plan(duty, now)

    def next_at(self) -> float:
        """When there may be something to do next; infinite when there is nothing."""
        began = [duty.began for duty in self._running.values() if duty.began is not None and not duty.is_late]
        first = self._queue[0][0] if self._queue else float("inf")
        return min(first, min(began, default=float("inf")) + self._pace.handler_seconds)

    @property
    def running(self) -> int:
        """Handlers that have not returned, hanging ones among them."""
        return len(self._running)

    @property
    def hanging(self) -> int:
        """Handlers that were given up and have not returned."""
        return sum(duty.is_late for duty in self._running.values())

    @property
    def unsettled(self) -> list[Order]:
        """What holds and is not done with."""
        return [
            duty.order
            for duties in self._keys.values()
            for duty in duties.values()
            if duty.is_current and not duty.is_settled
        ]

    # -- what came of it

    def overdue(self, now: float) -> list[Outcome]:
        """Handlers that have not returned in time: each `failed`, once. The same order is not handed over again before
        they return; a newer order of the key is."""
        found = []
        for duty in self._running.values():
            if not duty.is_late and duty.began is not None and now - duty.began >= self._pace.handler_seconds:
                duty.is_late = True
                self._release(duty.order.key, now)
                found.append(
                    Outcome(duty.order, "failed", f"its handler has not returned in {self._pace.handler_seconds:g} s")
                )
        return found

    def returned(self, order: Order, status: Status, detail: str, now: float) -> Outcome:
        """A handler has returned, be it late."""
        duty = self._end(order, now)
        if duty is not None and duty.is_current:
            if status in SETTLED:
                duty.is_settled = True
                if not order.doubt:  # of one in doubt nobody knows the epoch
                    self._settle(order.key, order.epoch, order.action)
            else:
                duty.failures = 0
                self._plan(duty, now + self._pace.again_seconds)
        return Outcome(order, status, detail[:MAX_DETAIL_CHARS])

    def raised(self, order: Order, why: str, now: float, again_soon: bool = True) -> Outcome | None:
        """A handler has raised; None while it is to be tried again soon."""
        duty = self._end(order, now)
        if duty is None or not duty.is_current:
            return None
        duty.failures += 1
        if again_soon and duty.failures < self._pace.attempts:
            wait = self._pace.backoff_seconds * 2 ** (duty.failures - 1)
            self._plan(duty, now + min(wait, self._pace.max_backoff_seconds))
            return None
        duty.failures = 0
        self._plan(duty, now + self._pace.again_seconds)
        return Outcome(order, "failed", why[:MAX_DETAIL_CHARS])

    def _end(self, order: Order, now: float) -> _Duty | None:
        place = order.key, order.identity
        duty = self._running.pop(place, None)
        if duty is None:
            return None
        was_late, duty.began, duty.is_late = duty.is_late, None, False
        self._release(order.key, now)
        if not duty.is_current:
            duties = self._keys.get(order.key, {})
            duties.pop(order.identity, None)
            if not duties:
                self._keys.pop(order.key, None)
            if was_late:
                self._again(order.key, now)
        return duty

    def _again(self, key: str, now: float) -> None:
        """A handler of an order that no longer holds came to its end after another was obeyed, and may have undone it:
        what holds is handed over again."""
        for duty in self._keys.get(key, {}).values():
            if duty.is_current and duty.began is None:
                duty.is_settled = False
                self._plan(duty, now)
