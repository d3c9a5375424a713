"""A host counts as crashed once per 24 hours in all, and once per signature per 24 hours: a boot loop is one host.

Bounded memory: past `LIMIT` the hosts that were entered first are forgotten and may count again.
"""

import hashlib

from pipeline.wire.spans import DAY_MS, MINUTE_MS

LIMIT = 400_000


def host_key(*parts: str) -> int:
    """64 bits for a host, a host with a signature, or a site's minute; stable across processes."""
    digest = hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class Recent:
    """Keys seen within a day of a moment, at most LIMIT of them.

    >>> recent = Recent()
    >>> recent.first(7, 0), recent.first(7, 5), recent.first(7, 2 * DAY_MS)
    (True, False, True)
    """

    def __init__(self, seen: dict[int, int] | None = None, forgotten: int = 0) -> None:
        self.seen: dict[int, int] = {} if seen is None else seen
        self.forgotten = forgotten

    def pack(self) -> tuple[dict[int, int], int]:
        """What a snapshot holds of it."""
        return self.seen, self.forgotten

    def restore(self, stored: tuple[dict[int, int], int]) -> None:
        """The inverse."""
        self.seen, self.forgotten = stored

    def knows(self, key: int, at_ms: int) -> bool:
        """Whether `key` has been counted within 24 hours of `at_ms`."""
        last = self.seen.get(key)
        return last is not None and abs(at_ms - last) < DAY_MS

    def first(self, key: int, at_ms: int) -> bool:
        """Whether `key` has not been counted within 24 hours of `at_ms`; it has from now on."""
        if self.knows(key, at_ms):
            return False
        self.seen[key] = max(at_ms, self.seen.pop(key, 0))
        if len(self.seen) > LIMIT:
            del self.seen[next(iter(self.seen))]
            self.forgotten += 1
        return True


class SiteMinutes:
    """How many crashed hosts a site has had in each minute: a power cut is one event, not a thousand."""

    LIMIT = 100_000

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self.counts: dict[int, int] = {} if counts is None else counts  # by hash: a snapshot holds no long texts

    def pack(self) -> dict[int, int]:
        """What a snapshot holds of it."""
        return self.counts

    def restore(self, stored: dict[int, int]) -> None:
        """The inverse."""
        self.counts = stored

    def admit(self, site: str, at_ms: int, most: int, kinds: list[str]) -> bool:
        """Whether this report is among the first `most` of its site and minute, in each of its kinds; without a site it
        always is."""
        hashes = [host_key(str(at_ms // MINUTE_MS), kind, site) for kind in kinds] if site else []
        if any(self.counts.get(key, 0) >= most for key in hashes):
            return False
        for key in hashes:
            self.counts[key] = self.counts.get(key, 0) + 1
        while len(self.counts) > self.LIMIT:
            del self.counts[next(iter(self.counts))]
        return True
