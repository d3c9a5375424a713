"""When most of a stream cannot be used, something is wrong with the stream and not with its messages. Pure.

A share above the limit over the last `window` messages is a broken sender, codec or topic: to dead-letter everything
would bury the few letters that mean something, and look healthy from outside.
"""

from collections import deque


class RejectGuard:
    """Counts batches; says when to stop. A share of 1 never stops."""

    def __init__(self, max_share: float, window: int) -> None:
        self._max_share = max_share
        self._window = window
        self._batches: deque[tuple[int, int]] = deque()  # messages, rejected; together no more than the window needs
        self._messages = 0
        self._rejected = 0

    def judge(self, messages: int, rejected: int) -> str | None:
        """Take in a batch; why it must not be committed, or None. Nothing is judged before `window` messages."""
        self._batches.append((messages, rejected))
        self._messages += messages
        self._rejected += rejected
        while self._messages - self._batches[0][0] >= self._window:
            gone = self._batches.popleft()
            self._messages -= gone[0]
            self._rejected -= gone[1]
        if self._messages < self._window or self._rejected <= self._max_share * self._messages:
            return None
        return (
            f"{self._rejected:,} of the last {self._messages:,} messages cannot be used, more than "
            f"max_rejected_share = {self._max_share:g} of them: stopped rather than dead-letter everything. "
            "`andon deadletter list` shows why they were refused; mend the sender, or raise the share"
        )
