"""What a reader knows of halts: the safety record, the verdicts on one update, what subscribers say. Believed records
only, and of them no more are verified than are needed. Pure."""

from collections import deque

from pipeline.halt.believe import TrustedKeys, believed_ack, believed_halt, believed_word
from pipeline.halt.errors import UntrustedRecord
from pipeline.halt.proposals import Proposals, Proposed
from pipeline.halt.safety import SafetyRecord
from pipeline.wire.acks import HaltAck
from pipeline.wire.record_keys import is_heartbeat, is_of_fleet, key_text, parse_key
from pipeline.wire.verdicts import Verdict

PENDING = b'"pending"'
MAX_BEATS, MAX_HALTS, MAX_HISTORY, MAX_ACKS = 8, 256, 2_000, 20_000  # newest records of a key; acknowledgements in all

Raw = tuple[bytes | None, bytes | None]  # key and value


class Known:
    """What is believed. `history` are the verdicts on the update that was asked about, oldest first; `acks` as they
    came; `issued` by halt key and epoch when its first record that is still there was made (unix ms); `named` are all
    keys of updates that any record stands under, believed or not: for "did you mean"."""

    def __init__(self, trusted: TrustedKeys, update_key: str = "") -> None:
        self.record = SafetyRecord(trusted)
        self.history: list[Verdict] = []
        self.acks: list[HaltAck] = []
        self.issued: dict[tuple[str, int], int] = {}
        self.named: set[str] = set()
        self.proposals = Proposals(trusted)
        self.problems: list[str] = []  # what is therefore unknown, for people
        self.subscribers = sorted(key.name for key in trusted.values() if key.role == "subscriber")
        self._trusted, self._asked = trusted, update_key
        self._words: dict[bytes, deque[Raw]] = {}
        self._halts: dict[bytes, deque[Raw]] = {}
        self._acks: deque[Raw] = deque(maxlen=MAX_ACKS)

    # -- records, as they come

    def put_word(self, key: bytes | None, value: bytes | None) -> None:
        """A record of `fleet.verdicts`."""
        most = MAX_BEATS if is_heartbeat(key) else MAX_HISTORY if self._is_asked(key) else 1
        self._words.setdefault(key or b"", deque(maxlen=most)).append((key, value))

    def put_halt(self, key: bytes | None, value: bytes | None) -> None:
        """A record of `fleet.halts`."""
        self._halts.setdefault(key or b"", deque(maxlen=MAX_HALTS)).append((key, value))

    def put_ack(self, key: bytes | None, value: bytes | None) -> None:
        """A record of `fleet.halt-acks`."""
        if not self._asked or key_text(key) == self._asked:
            self._acks.append((key, value))

    def put_audit(self, key: bytes | None, value: bytes | None) -> None:
        """A record of `fleet.audit`."""
        self.proposals.put(key, value)

    def proposed(self, key: str, now_ms: int) -> list[Proposed]:
        """What waits for another operator, of an update's key."""
        return [each for each in self.proposals.open(self.record.halts, now_ms) if each.key == key]

    def _is_asked(self, key: bytes | None) -> bool:
        return bool(self._asked) and _update_of(key) == self._asked

    # -- once all is there

    def settle(self) -> None:
        """Believe what is to be believed: heartbeats and halts all, of other verdicts those that halts need."""
        self.named = {_update_of(key) for key in self._words if not is_of_fleet(key)} | {*map(key_text, self._halts)}
        for key, records in self._words.items():
            if is_of_fleet(key) or self._is_asked(key) or self._is_needed(key, records):
                for record in records:
                    self._take_word(*record)
        for records in self._halts.values():
            for record in records:
                self._take_halt(*record)
        forged = 0
        for place, value in self._acks:
            try:
                self.acks.append(believed_ack(place, value or b"", self._trusted))
            except UntrustedRecord:
                forged += 1
        if forged:
            self.problems.append(f"acknowledgements that are not their subscriber's, not believed: {forged:,}")

    def _is_needed(self, key: bytes, records: deque[Raw]) -> bool:
        """The verdict on what is halted, or waits; of an update that was asked about, all of its fleet."""
        if self._asked:
            return parse_key(key_text(key))[0] == parse_key(self._asked)[0]
        return PENDING in (records[-1][1] or b"") or _update_of(key).encode() in self._halts

    def _take_word(self, key: bytes | None, value: bytes | None) -> None:
        if self.record.take_word(key, value) == "" and value is not None and self._is_asked(key):
            word = self.record.verdicts.get(key_text(key))
            if word is not None:
                self.history.append(word)
        elif self._is_asked(key) and value is not None:
            self._take_older(key, value)

    def _take_older(self, key: bytes | None, value: bytes) -> None:
        """Older than the newest seen, but signed: it still says what was thought then."""
        try:
            word = believed_word(key, value, self._trusted)
        except UntrustedRecord:
            return
        if isinstance(word, Verdict):
            self.history.append(word)

    def _take_halt(self, key: bytes | None, value: bytes | None) -> None:
        self.record.take_halt(key, value)
        try:
            halt = believed_halt(key, value or b"", self._trusted)
        except UntrustedRecord:
            return
        place = halt.key, halt.epoch
        self.issued[place] = min(self.issued.get(place, halt.issued_at), halt.issued_at)


def _update_of(key: bytes | None) -> str:
    """The update that a verdict's key is about, as a key of `fleet.halts`."""
    return key_text(key).rpartition("/")[0]
