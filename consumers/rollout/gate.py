"""Whether an update may go on in a ring, from the records of `fleet.halts` and `fleet.verdicts`. Pure: records, keys
and the time come in.

Whoever asks (a command, the library, a webhook) asks the same `Knowledge`.
"""

from itertools import islice
from typing import Literal, NamedTuple

import msgspec

from consumers.rollout.rules import Facts, Permission, State, rule_for
from consumers.rollout.words import Words, span, unheard
from pipeline.halt.believe import TrustedKeys
from pipeline.halt.safety import DEAF, SafetyRecord
from pipeline.runtime.wrong import did_you_mean
from pipeline.wire.halts import Halt
from pipeline.wire.record_keys import is_of_fleet, key_text, parse_key, update_key, verdict_key
from pipeline.wire.spans import MINUTE_MS
from pipeline.wire.verdicts import AHEAD_MS, FleetAlarm, FleetHeartbeat, Verdict

EVERY_RING = "*"
Shadow = Literal["watching", "halted", "cleared"]
OnSilence = Literal["hold", "proceed"]  # what a caller chose for the time when nobody knows
MIN_RATE_MS = MINUTE_MS  # over less a rate of trials says nothing
LOOKED_AT, SHOWN = 1_000, 5  # names looked at for one that may have been meant; and named
NOT_READ = "the topics have not been read to their end"


class Question(NamedTuple):
    """Which update, in which ring of which fleet; names compare as in keys of records, letter by letter."""

    fleet: str
    vendor: str
    product: str
    version: str
    ring: str

    @property
    def halt_key(self) -> str:
        """The update's key on `fleet.halts`."""
        return update_key(*self[:4])

    @property
    def verdict_key(self) -> str:
        """Its key on `fleet.verdicts`."""
        return verdict_key(*self)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, the rule of docs/rollout.md that gave it, and the evidence: the newest records that are believed.

    Times in unix ms. `missing_trials` is how many trials are missing until a harmless update would be cleared, 0 when
    that is not known; `missing_seconds` how long they take at the rate of late, None when that is not. `may_proceed`:
    whether the rollout may go on, by what the caller chose for silence (`on_silence`), too. `alarm` is the fleet's
    unattributed alarm while it sounds; of a halt in doubt `verdict.doubted_for` names what is to blame instead.
    """

    state: State
    permission: Permission
    rule: str
    reason: str
    fleet: str
    vendor: str
    product: str
    version: str
    ring: str
    at: int
    may_proceed: bool = False
    on_silence: OnSilence = "hold"
    missing_trials: int = 0
    missing_seconds: float | None = None
    halt: Halt | None = None
    verdict: Verdict | None = None
    heartbeat: FleetHeartbeat | None = None
    alarm: FleetAlarm | None = None


class _Known(NamedTuple):
    """What the facts are made of."""

    halt: Halt | None
    verdict: Verdict | None
    beat: FleetHeartbeat | None
    pending: str  # the ring that a pending verdict is about
    doubt: str
    refused: str
    is_alarmed: bool
    alarm: FleetAlarm | None


class Knowledge:
    """One reader's knowledge. Feed it every record, of each topic in its order; say `caught_up` when both have been
    read to their committed end, and `lost_track` when they no longer are. Epochs and halts once seen are kept."""

    def __init__(self, trusted: TrustedKeys, shadow: Shadow = "watching", on_silence: OnSilence = "hold") -> None:
        self.record = SafetyRecord(trusted)
        self._shadow, self._on_silence = shadow, on_silence
        self._unread = NOT_READ
        self._rings: dict[str, set[str]] = {}  # by halt key: rings of which there were verdicts
        self._first: dict[str, Verdict] = {}  # by verdict key: where its rate of trials is measured from

    def take_halt(self, key: bytes | None, value: bytes | None) -> str:
        """A record of `fleet.halts`; "" when it is believed, else why not."""
        return self.record.take_halt(key, value)

    def take_word(self, key: bytes | None, value: bytes | None) -> str:
        """A record of `fleet.verdicts`; "" when it is believed, else why not."""
        reason = self.record.take_word(key, value)
        verdict = None if reason or is_of_fleet(key) else self.record.verdicts.get(key_text(key))
        if verdict is not None:
            named = update_key(verdict.fleet, verdict.vendor, verdict.product, verdict.version)
            self._rings.setdefault(named, set()).add(verdict.ring)
            first = self._first.setdefault(verdict.key, verdict)
            if verdict.exposed_trials < first.exposed_trials:  # counted anew
                self._first[verdict.key] = verdict
        return reason

    def caught_up(self) -> None:
        """Both topics have been read to their committed end."""
        self._unread = ""

    def lost_track(self, why: str) -> None:
        """They cannot be read now; `why` is for people."""
        self._unread = why or NOT_READ

    def decide(self, asked: Question, now_ms: int) -> Decision:
        """The answer as of `now_ms`, unix ms."""
        known = self._known(asked)
        facts = self._facts(asked, known, now_ms)
        rule = rule_for(facts)
        trials, seconds = self._missing(known.verdict) if facts.verdict == "watching" else (0, None)
        words = Words(
            now_ms, self._unread, known.halt, known.verdict, known.beat, known.doubt, known.refused, known.alarm
        )
        places = words.places() | {
            "pending": known.pending,
            "missing": missing_words(trials, seconds),
            "elsewhere": self._elsewhere(asked),
            "fleets": self._fleets(asked.fleet),
        }
        goes_on_unheard = rule.permission == "silent" and self._on_silence == "proceed"
        chosen = "; the caller chose to proceed when nobody knows" if goes_on_unheard else ""
        old = ""
        if rule.permission != "silent" and (old_seconds := self.record.unheard_seconds(asked.fleet)):
            old = f"; {unheard(old_seconds)}"
        return Decision(
            state=rule.state,
            permission=rule.permission,
            rule=rule.name,
            reason=rule.reason.format_map(places) + old + chosen,
            **asked._asdict(),
            at=now_ms,
            may_proceed=rule.permission == "yes" or goes_on_unheard,
            on_silence=self._on_silence,
            missing_trials=trials,
            missing_seconds=seconds,
            halt=known.halt,
            verdict=known.verdict,
            heartbeat=known.beat,
            alarm=known.alarm,
        )

    # -- facts

    def _known(self, asked: Question) -> _Known:
        record, key = self.record, asked.halt_key
        halt = record.halts.get(key)
        return _Known(
            halt,
            record.verdicts.get(asked.verdict_key),
            record.beats.get(asked.fleet),
            self._pending(asked, halt),
            record.doubt_of(asked.fleet, key),
            record.refusal_of(asked.verdict_key),
            record.is_alarmed(asked.fleet),
            record.alarm_of(asked.fleet),
        )

    def _pending(self, asked: Question, halt: Halt | None) -> str:
        """A halt that waits for a person concerns every ring; one that operators answered by a resume does not wait."""
        answered_ms = halt.issued_at if halt is not None and halt.action == "resume" else -1
        for ring in sorted(self._rings.get(asked.halt_key, ())):
            verdict = self.record.verdicts.get(verdict_key(*asked[:4], ring))
            if verdict is not None and verdict.state == "pending" and verdict.at > answered_ms:
                return ring
        return ""

    def _facts(self, asked: Question, known: _Known, now_ms: int) -> Facts:
        return Facts(
            topics="unread" if self._unread else "read",
            record=record_of(known.halt, asked.ring, now_ms),
            doubt="yes" if known.doubt else "no",
            detector=detector_of(known.beat, self.record.is_heard(asked.fleet, now_ms)),
            verdict=_verdict(known, now_ms),
            alarm="sounding" if known.is_alarmed else "none",
            shadow=self._shadow,
        )

    # -- what is missing

    def _missing(self, verdict: Verdict | None) -> tuple[int, float | None]:
        if verdict is None or not verdict.needs_trials:
            return 0, None
        first = self._first[verdict.key]
        trials, passed_ms = verdict.exposed_trials - first.exposed_trials, verdict.at - first.at
        if trials <= 0 or passed_ms < MIN_RATE_MS:
            return verdict.needs_trials, None
        return verdict.needs_trials, verdict.needs_trials * passed_ms / 1000 / trials

    def _elsewhere(self, asked: Question) -> str:
        """What may have been meant: the version in other rings, another spelling, or another version."""
        if rings := self._rings.get(asked.halt_key):
            return f"; it has one in {', '.join(sorted(rings))}"
        wanted = asked.halt_key.casefold()
        alike = sorted("/".join(parse_key(key)) for key in self._rings if key.casefold() == wanted)
        if alike:
            return f"; names are compared letter by letter, and there is {alike[0]}"
        product = update_key(*asked[:3], "")
        others = [key for key in islice(self._rings, LOOKED_AT) if key.startswith(product)]
        if versions := [parse_key(key)[-1] for key in others]:
            more = f" and {len(versions) - SHOWN:,} more" if len(versions) > SHOWN else ""
            return f"; {asked.vendor}/{asked.product} has one on {', '.join(sorted(versions)[:SHOWN])}{more}"
        mine = [key for key in islice(self._rings, LOOKED_AT) if parse_key(key)[0] == asked.fleet]
        return did_you_mean(asked.halt_key, mine)

    def _fleets(self, fleet: str) -> str:
        """Those that may have been meant."""
        others = sorted(self.record.beats) if fleet not in self.record.beats else []
        return f"; there are heartbeats of {', '.join(others)}" if others else ""


def missing_words(trials: int, seconds: float | None) -> str:
    """How much is missing until it can be cleared, for people."""
    if not trials:
        return "how much is missing is not known yet"
    long = "" if seconds is None else f", about {span(seconds)} at this rate"
    return f"needs {trials:,} more trials{long}"


def detector_of(beat: FleetHeartbeat | None, is_heard: bool) -> str:
    """The fact `detector`: of the fleet's newest heartbeat, and whether it is of now."""
    if beat is None or not is_heard:
        return "silent"
    if DEAF & set(beat.flags):
        return "deaf"
    return "untold" if beat.standing is None else "heard"


def record_of(halt: Halt | None, ring: str, now_ms: int) -> str:
    """The fact `record` for this ring."""
    if halt is None:
        return "none"
    if not {EVERY_RING, ring} & set(halt.rings):
        return f"{halt.action}_elsewhere"
    return halt.action if now_ms < halt.expires_at else f"{halt.action}_expired"


def _verdict(known: _Known, now_ms: int) -> str:
    verdict = known.verdict
    if known.refused:
        return "unverifiable"
    if known.pending:
        return "pending"
    if verdict is None:
        return "none"
    if verdict.state == "pending":
        return "halted"  # decided, and answered by a resume
    return "ahead" if verdict.at > now_ms + AHEAD_MS else verdict.state
