"""Who issues halts: it knows what has been said, signs what is to be said now, and says nothing twice.

Records go in and come out; to publish them is for others. What is published is `put` on the register afterwards, so a
record that nobody acknowledged is signed again.
"""

from pipeline.decide.orders import HaltOrder
from pipeline.halt import issue
from pipeline.halt.register import HaltRegister
from pipeline.halt.signing import R, SigningKey, TrustedKeys
from pipeline.wire.halts import Halt

LOST = "a record of a higher epoch has taken the place of the resume, which operators have not signed for that epoch"


class HaltIssuer:
    """One per process. `lifetime_ms` is how long a halt stands without renewal; `now_ms` is the wall clock, unix ms."""

    def __init__(self, key: SigningKey, trusted: TrustedKeys, lifetime_ms: int) -> None:
        self.trusted = trusted
        self._key, self.lifetime_ms = key, lifetime_ms
        self.register = HaltRegister(trusted)

    def forget(self) -> None:
        """Begin anew with an empty register."""
        self.register = HaltRegister(self.trusted)

    def answer(self, order: HaltOrder, now_ms: int) -> Halt | None:
        """The signed halt that an order to enforce asks for; None when the newest record of its key says it already."""
        newest, floor = self.register.newest(order.key), self.register.floor(order.key)
        halt = issue.issue(order, newest, floor, now_ms, self.lifetime_ms)
        return None if halt is None else self._key.sign(halt)

    def due(self, now_ms: int) -> list[Halt]:
        """Own halts that have come to half of their life."""
        return list(self.register.renewals(now_ms, self.lifetime_ms))

    def renewed(self, halt: Halt, now_ms: int) -> Halt:
        """The same halt for another lifetime, signed."""
        return self._key.sign(issue.renew(halt, now_ms, self.lifetime_ms))

    def restored(self, halt: Halt, now_ms: int) -> Halt:
        """What `fleet.halts` has lost, signed: a halt at a higher epoch than any seen on its key. A resume is of the
        epoch that two operators signed, and of no other: it comes back as it was."""
        if halt.action == "resume":
            return halt
        return self._key.sign(issue.restore(halt, self.register.floor(halt.key), now_ms, self.lifetime_ms))

    def outdone(self, now_ms: int) -> list[Halt]:
        """Resumes that have ended, or are none any more for whoever has seen a higher epoch of their key."""
        newest = self.register.all_newest().values()
        resumes = (halt for halt in newest if halt.action == "resume")
        return [halt for halt in resumes if now_ms >= halt.expires_at or self.register.floor(halt.key) > halt.epoch]

    def standing_again(self, resume: Halt, rings: tuple[str, ...], now_ms: int) -> Halt:
        """The halt that this resume had lifted, at a higher epoch, signed."""
        floor = self.register.floor(resume.key)
        ended = f"the resume by {resume.decided_by} has ended" if now_ms >= resume.expires_at else LOST
        why = f"{ended}; it was: {resume.reason}"
        return self._key.sign(issue.stands_again(resume, rings, why, floor, now_ms, self.lifetime_ms))

    def sign(self, halt: Halt) -> Halt:
        """A halt or a resume that people have decided, signed."""
        return self._key.sign(halt)

    def signed(self, record: R) -> R:
        """A record that is no halt, signed by the key that signs the halts."""
        return self._key.sign_word(record)

    def recall(self, halt: Halt) -> None:
        """Take in a record of own state, unless `fleet.halts`, learnt before, has a newer one."""
        known = self.register.newest(halt.key)
        if known is None or known.epoch < halt.epoch:
            self.register.learn(halt)
