"""Which halts of a fleet records account for, against what its heartbeat names and counts. Pure; kept up record by
record, for ten thousand halts may stand.
"""

from pipeline.wire.halts import Halt
from pipeline.wire.verdicts import FleetHeartbeat


class Accounted:
    """Of one fleet. Tell it each key's newest state, and each heartbeat that is believed."""

    def __init__(self) -> None:
        self.named: dict[str, int] = {}  # by key: the epoch that the newest heartbeat names
        self._total, self._at = 0, 0
        self._resumed: dict[str, Halt] = {}
        self._doubtful: set[str] = set()
        self._shown: set[str] = set()
        self._hides: bool | None = None

    def put(self, key: str, halt: Halt | None, is_doubtful: bool) -> None:
        """The newest record of the key that is believed, and whether there is one since that is not."""
        self._hides = None
        (self._doubtful.add if is_doubtful else self._doubtful.discard)(key)
        if halt is not None and halt.action == "resume":
            self._resumed[key] = halt
        else:
            self._resumed.pop(key, None)
        self._show(key, halt)

    def hear(self, beat: FleetHeartbeat | None) -> None:
        """The newest heartbeat."""
        self.named = {}
        for each in (beat.standing if beat is not None else None) or ():
            self.named[each.key] = max(each.epoch, self.named.get(each.key, 0))
        self._hides = None
        self._total, self._at = (beat.standing_total, beat.at) if beat is not None else (0, 0)
        for key, halt in self._resumed.items():
            self._show(key, halt)

    def _show(self, key: str, halt: Halt | None) -> None:
        """Whether a halt of it may have stood when the heartbeat was signed: it does, it was resumed since, or nobody
        can say."""
        stood = halt is not None and (halt.action == "halt" or halt.issued_at > self._at)
        (self._shown.add if stood or key in self._doubtful else self._shown.discard)(key)

    @property
    def resumed(self) -> set[str]:
        """Keys whose newest record is a resume."""
        return set(self._resumed)

    def is_shown(self, key: str) -> bool:
        """Whether a record says that a halt of it may have stood when the heartbeat was signed."""
        return key in self._shown

    @property
    def hides(self) -> bool:
        """Whether the heartbeat counts more halts without naming them than there are other records, or doubts."""
        if self._hides is None:
            unnamed = self._total - len(self.named)
            others = len(self._shown) - sum(key in self._shown for key in self.named)
            self._hides = unnamed > 0 and others < unnamed
        return self._hides
