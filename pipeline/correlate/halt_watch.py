"""Watches over `fleet.halts`: what was said must still be what the topic says. Pure, but for log and metrics.

Whoever can write to the topic can erase a halt for those who read it after compaction. So the topic is read all the
time and held against the register of what was said: a record that is lost, erased, overwritten, older than one before
or not Andon's is an alarm, and what it hides is to be put back at a higher epoch.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
import structlog

from pipeline.correlate.ports import HaltRecord, HaltsRead
from pipeline.halt.believe import UNREADABLE, TrustedKeys, believed_halt
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.issuer import HaltIssuer
from pipeline.halt.safety import DOUBTS, ERASED, MISSING, REPLAYED
from pipeline.runtime import metrics
from pipeline.wire.halts import Halt, decode_halt
from pipeline.wire.record_keys import fleet_of, key_text
from pipeline.wire.verdicts import HALT_RECORDS_UNREAD, MAX_STANDING, MAX_STANDING_BYTES, FleetHeartbeat, StandingHalt

DISTURBED, UNREAD = "halt_records_disturbed", HALT_RECORDS_UNREAD  # flags of a heartbeat
FLAG_MS = 3_600_000  # how long a heartbeat says so after all was put back: people look at it later
UNREAD_MS = 30_000  # a topic that could not be read for so long is not watched
ABSENT = (MISSING, REPLAYED)  # reasons that the next look has to confirm
LOGGED = 20  # keys of one look
AGAIN_MS = 6_000  # what was put back and does not show is put back again: with a look, within ten seconds of its loss
MAX_STRANGE = 1_000  # keys of strangers that are remembered; more are counted with the next whole reading
MAX_KEY_CHARS = 8_192  # no key of ours is longer: four parts of 128 characters, escaped


class Disturbance(NamedTuple):
    """A key whose newest record on the topic is not what was said: why (a reason of safety.DOUBTS), and what was."""

    halt: Halt
    reason: str


class Judged(NamedTuple):
    """A record by its key: the halt that it is, or why it is none to believe; and the epoch that one claims."""

    key: str
    said: Halt | str
    claimed: Halt | None = None


class HaltWatch:
    """One per process; `look` after `expected` and `judge`, on one thread. `judge` may be called in another."""

    def __init__(self, issuer: HaltIssuer, log: structlog.typing.FilteringBoundLogger) -> None:
        self._issuer, self._log = issuer, log
        self._topic: dict[str, Halt | str] = {}  # by key: the newest record there, or why it is none to believe
        self._strange: dict[str, str] = {}  # the same of keys that nothing was said of, as many as are remembered
        self._put_back: dict[str, tuple[int, int]] = {}  # by key: epoch, and when (unix ms), until the topic shows it
        self._absent: set[str] = set()  # keys whose newest record the last look did not find
        self._alarmed: dict[str, str] = {}  # by key: the reason, while it lasts
        self._flagged_ms: dict[str, int] = {}  # by fleet: when last something was wrong
        self._read_ms: int | None = None
        metrics.from_zero(metrics.HALT_RECORDS_DISTURBED, DOUBTS)

    def began(self, now_ms: int) -> None:
        """The register was filled anew, from all that the topic holds by now."""
        self._put_back.clear()
        self._read_ms = now_ms

    def expected(self) -> dict[str, Halt]:
        """What has been said so far, to be asked for before the topic is read: what is said meanwhile need not show."""
        return self._issuer.register.all_newest()

    def judge(self, read: HaltsRead) -> list[Judged]:
        """What each record says. Signatures take their time, and whoever may write there may have written many."""
        return [judged(record, self._issuer.trusted) for record in read.records]

    def look(
        self, expected: Mapping[str, Halt], judged: Iterable[Judged], is_whole: bool, now_ms: int
    ) -> list[Disturbance]:
        """Take in what was read; the records that have to be put back."""
        if is_whole:
            self._topic.clear()
            self._strange.clear()
        news = {each.key: why for each in judged if (why := self._take(each)) and not is_whole}
        self._alarm(news, now_ms)  # even if it was put right by what came next
        self._read_ms = now_ms
        metrics.HALTS_READ_AGE.set(now_ms / 1000)
        found = self._confirmed(
            [Disturbance(halt, reason) for key, halt in expected.items() if (reason := self._reason(key, halt))]
        )
        wrong = {each.halt.key: each.reason for each in found} | self._strange
        self._alarm(wrong, now_ms)
        self._alarmed = wrong
        return [each for each in found if self._is_due(each.halt.key, now_ms)]

    def _take(self, judged: Judged) -> str:
        """What is wrong with a record on a key of ours, "" for nothing."""
        key, said, claimed = judged
        if claimed is not None:
            self._issuer.register.pass_epoch(claimed)
        if isinstance(said, Halt):
            self._strange.pop(key, None)
            self._topic[key] = said
            self._issuer.register.put(said)
            if said.epoch >= self._put_back.get(key, (0, 0))[0]:
                self._put_back.pop(key, None)
            return ""
        if self._issuer.register.newest(key) is not None:
            self._topic[key] = said
            return said
        if key in self._strange or len(self._strange) < MAX_STRANGE:
            self._strange[key] = said
        return ""

    def _reason(self, key: str, halt: Halt) -> str:
        if self._issuer.register.newest(key) != halt:
            return ""  # something newer was said or read meanwhile
        said = self._topic.get(key, self._strange.get(key, MISSING))
        if isinstance(said, str):
            return said
        return REPLAYED if said.rank < halt.rank else ""

    def _confirmed(self, found: list[Disturbance]) -> list[Disturbance]:
        """What is there is there; what is not may be on its way: a partition's new leader shows it a moment later."""
        before, self._absent = self._absent, {each.halt.key for each in found if each.reason in ABSENT}
        return [each for each in found if each.reason not in ABSENT or each.halt.key in before]

    def _is_due(self, key: str, now_ms: int) -> bool:
        return now_ms - self._put_back.get(key, (0, -AGAIN_MS))[1] >= AGAIN_MS

    def put_back(self, halt: Halt, now_ms: int) -> None:
        """The record was published."""
        self._put_back[halt.key] = (halt.epoch, now_ms)

    # -- who hears of it

    def _alarm(self, wrong: Mapping[str, str], now_ms: int) -> None:
        recent = {fleet: at_ms for fleet, at_ms in self._flagged_ms.items() if now_ms - at_ms < FLAG_MS}
        self._flagged_ms = recent | {fleet_of(key.encode()): now_ms for key in wrong}
        news = {key: reason for key, reason in wrong.items() if self._alarmed.get(key) != reason}
        for reason in news.values():
            metrics.HALT_RECORDS_DISTURBED.labels(reason).inc()
        for key, reason in list(news.items())[:LOGGED]:
            self._log.error("fleet.halts does not say what was said", halt=key, why=reason)
        if len(news) > LOGGED:
            self._log.error("fleet.halts has more records that are not what was said", records=len(news) - LOGGED)
        self._alarmed |= news

    def complete(self, beat: FleetHeartbeat, now_ms: int) -> FleetHeartbeat:
        """The heartbeat with what it says of halts: the digest of those that stand, and the flags of this watch."""
        standing = self._issuer.register.standing(beat.fleet)
        flags = [DISTURBED] if now_ms - self._flagged_ms.get(beat.fleet, -FLAG_MS) < FLAG_MS else []
        if self._read_ms is None or now_ms - self._read_ms > UNREAD_MS:
            flags.append(UNREAD)
        return msgspec.structs.replace(
            beat, standing=_digest(standing), standing_total=len(standing), flags=(*beat.flags, *flags)
        )


def judged(record: HaltRecord, trusted: TrustedKeys) -> Judged:
    """What a record of `fleet.halts` says."""
    key = key_text(record.key)[:MAX_KEY_CHARS]
    if record.value is None:
        return Judged(key, ERASED)
    try:
        return Judged(key, believed_halt(record.key, record.value, trusted))
    except UntrustedRecord as error:
        return Judged(key, error.reason, _claimed(record))


def _digest(standing: tuple[Halt, ...]) -> tuple[StandingHalt, ...]:
    named: list[StandingHalt] = []
    left_bytes = MAX_STANDING_BYTES
    for halt in standing[:MAX_STANDING]:
        left_bytes -= len(halt.key)
        if left_bytes < 0:
            break
        named.append(StandingHalt(halt.key, halt.epoch))
    return tuple(named)


def _claimed(record: HaltRecord) -> Halt | None:
    """Of a record that is not believed, under its own key."""
    try:
        halt = decode_halt(record.value or b"")
    except UNREADABLE:
        return None
    return halt if record.key == halt.key.encode() else None
