"""What one token may take of a gateway that all fleets share. Pure: the time, in seconds, comes in as an argument."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.collect.config import CollectConfig
from pipeline.collect.refusals import beyond_quota
from pipeline.wire.deadletter import DeadLetter

BURST_SECONDS = 10.0  # what may come at once after a silence, as a multiple of a second's worth
LETTER_BYTES = 4096  # a dead letter counts once for each of these


class Bucket:
    """Fills at `per_second` up to ten seconds' worth. It may be overdrawn once: then nothing more until it is paid."""

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second, self._at = per_second, now
        self._most = self.left = per_second * BURST_SECONDS

    def fill(self, now: float) -> float:
        """What is left by now."""
        self.left = min(self._most, self.left + (now - self._at) * self._per_second)
        self._at = now
        return self.left

    def wait_seconds(self) -> float:
        """Until something is left again."""
        return max(0.0, -self.left / self._per_second)


class Account:
    """One token's: what it holds of the gateway just now, and what it may still send."""

    def __init__(self, config: CollectConfig, now: float) -> None:
        self.requests = 0
        self.lines = 0  # being checked or on their way to the broker
        self.may_send = Bucket(config.sender_lines_per_second, now)
        self.may_bury = Bucket(config.sender_deadletters_per_second, now)


class Quotas:
    """The accounts of all tokens, by digest, and what they hold together."""

    def __init__(self, config: CollectConfig) -> None:
        self._config = config
        self._accounts: dict[str, Account] = {}
        self._requests = 0
        self._lines = 0
        self.max_lines = self._share(config.max_buffered_events, 0)  # of one request

    def account(self, token: str, now: float) -> Account:
        """That of a token."""
        found = self._accounts.get(token)
        if found is None:
            found = self._accounts[token] = Account(self._config, now)
        return found

    def keep_only(self, tokens: set[str]) -> None:
        """Forget the others, which are tokens no more."""
        self._accounts = {token: account for token, account in self._accounts.items() if token in tokens}

    def _share(self, limit: int, of_others: int) -> int:
        """Of what others leave; so whoever comes last finds something, however many take their whole share."""
        return max(1, int(self._config.sender_share * (limit - of_others)))

    @contextmanager
    def request(self, account: Account) -> Iterator[None]:
        """Raises Refusal: 429 when the token has its share of requests under way."""
        most = self._share(self._config.max_requests, self._requests - account.requests)
        if account.requests >= most:
            raise beyond_quota(f"{account.requests} requests of this token are under way, at most {most} may be")
        account.requests += 1
        self._requests += 1
        try:
            yield
        finally:
            account.requests -= 1
            self._requests -= 1

    @contextmanager
    def lines(self, account: Account, count: int, now: float) -> Iterator[None]:
        """For a request's lines, `count` of them, at most `max_lines`. Raises Refusal: 429 when the token has sent too
        many, or has its share under way."""
        if account.may_send.fill(now) <= 0:
            rate = self._config.sender_lines_per_second
            raise beyond_quota(f"this token sends more than {rate} lines a second", account.may_send.wait_seconds())
        most = self._share(self._config.max_buffered_events, self._lines - account.lines)
        if account.lines + count > most:
            raise beyond_quota(f"{account.lines} lines of this token are under way, at most {most} may be")
        account.may_send.left -= count
        account.lines += count
        self._lines += count
        try:
            yield
        finally:
            account.lines -= count
            self._lines -= count


def within_quota(letters: list[DeadLetter], account: Account, now: float) -> list[DeadLetter]:
    """Those letters, the first ones, that the token may still have kept."""
    bucket = account.may_bury
    if not letters or bucket.fill(now) <= 0:
        return []
    for kept, letter in enumerate(letters, 1):
        bucket.left -= 1 + len(letter.value) // LETTER_BYTES
        if bucket.left <= 0:
            return letters[:kept]
    return letters
