"""Who issues halts: it knows what has been said, signs what is to be said now, and says nothing twice.

Records go in and come out; to publish them is for others. What is published is `put` on the register afterwards, so a
record that nobody acknowledged is signed again.
"""

from collections.abc import Iterator

from pipeline.decide.orders import HaltOrder
from pipeline.halt import issue
from pipeline.halt.believe import believed_halt
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.register import HaltRegister
from pipeline.halt.signing import R, SigningKey, TrustedKeys
from pipeline.wire.halts import Halt, encode_halt

SIGNED_ANEW = 100  # at most at a time: whoever waits for a decision waits meanwhile


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

    @property
    def is_revoked(self) -> bool:
        """Whether nobody is to believe the key that signs here."""
        return self._key.kid not in self.trusted

    def due(self, now_ms: int) -> list[Halt]:
        """Own halts that have come to half of their life."""
        return list(self.register.renewals(now_ms, self.lifetime_ms))

    def of_other_keys(self) -> Iterator[Halt]:
        """Newest records that another key signed, as the one before this: once they are signed anew, that one can be
        revoked."""
        return (halt for halt in self.register.all_newest().values() if halt.kid != self._key.kid)

    def renewed(self, halt: Halt, now_ms: int) -> Halt:
        """The same halt for another lifetime, signed. One that another key signed and that is not due, and a resume,
        keeps its times."""
        is_due = issue.renewal_due(halt, now_ms, self.lifetime_ms)
        return self._key.sign(issue.renew(halt, now_ms, self.lifetime_ms) if is_due else halt)

    def restored(self, halt: Halt, now_ms: int) -> Halt:
        """What `fleet.halts` has lost, signed: a halt at a higher epoch than any seen on its key. A resume is of the
        epoch that two operators signed, and of no other: it comes back as it was."""
        if halt.action == "resume":
            return self._key.sign(halt)
        return self._key.sign(issue.restore(halt, self.register.floor(halt.key), now_ms, self.lifetime_ms))

    def believes(self, halt: Halt) -> bool:
        """Whether the record would be believed if it were read now."""
        try:
            believed_halt(halt.key.encode(), encode_halt(halt), self.trusted)
        except UntrustedRecord:
            return False
        return True

    def why_over(self, resume: Halt, now_ms: int) -> str:
        """Why a resume is none any more, "" while it stands; in words."""
        if now_ms >= resume.expires_at:
            return f"the resume by {resume.decided_by} has ended"
        if self.register.floor(resume.key) > resume.epoch:
            return "a record of a higher epoch has taken the place of the resume, for which operators have not signed"
        return "" if self.believes(resume) else "a key that signed its resume is not trusted any more"

    def outdone(self, now_ms: int) -> list[Halt]:
        """Resumes that are none any more."""
        newest = self.register.all_newest().values()
        return [halt for halt in newest if halt.action == "resume" and self.why_over(halt, now_ms)]

    def standing_again(self, resume: Halt, rings: tuple[str, ...], now_ms: int) -> Halt:
        """The halt that this resume had lifted, at a higher epoch, signed."""
        why = f"{self.why_over(resume, now_ms)}; it was: {resume.reason}"
        floor = self.register.floor(resume.key)
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
