"""The combiner's seal on a partial: who has no key cannot make evidence, though he may write `fleet.partials`. Pure.

A sealed partial is the same MessagePack array with one element more, a MAC over the encoding without it. So whoever has
no key reads it like any other, and the bytes in a dead letter still have their seal.
"""

import hashlib
import hmac
from collections.abc import Sequence

from pipeline.wire.partials import WITH_NOTES, WITHOUT_NOTES
from pipeline.wire.reasons import MalformedMessage, Reason

MIN_SECRET_CHARS = 32
_DIGEST = "sha256"
_PURPOSE = b"andon partial 1"  # the key of a MAC is derived, so a secret that serves elsewhere too proves nothing here
_SEALED = {WITHOUT_NOTES: WITH_NOTES, WITH_NOTES: b"\xdc" + (WITH_NOTES[-1] + 1).to_bytes(2, "big")}  # one more
_OPEN = {sealed: unsealed for unsealed, sealed in _SEALED.items()}
_HEAD_BYTES = len(WITH_NOTES)  # of every sealed one
_MAC = b"\xc4" + bytes([hashlib.new(_DIGEST).digest_size])  # so many bytes
SEAL_BYTES = len(WITH_NOTES) - len(WITHOUT_NOTES) + len(_MAC) + _MAC[1]  # at most


class Seal:
    """Seals with the first of its secrets, and knows the seals of all: so one can be changed for another.

    Raises:
        ValueError: for no secret, or one that could be guessed.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets or min(map(len, secrets)) < MIN_SECRET_CHARS:
            raise ValueError(f"a secret should have at least {MIN_SECRET_CHARS} characters; a line has one")
        self._keys = [hmac.digest(secret.encode(), _PURPOSE, _DIGEST) for secret in secrets]

    def sealed(self, raw: bytes) -> bytes:
        """An encoded partial, with a seal."""
        head = WITH_NOTES if raw.startswith(WITH_NOTES) else WITHOUT_NOTES
        return b"".join((_SEALED[head], raw[len(head) :], _MAC, hmac.digest(self._keys[0], raw, _DIGEST)))

    def check(self, raw: bytes) -> None:
        """Raises MalformedMessage (UNSEALED_PARTIAL) unless the bytes carry a seal of one of these secrets."""
        head, mac = raw[:_HEAD_BYTES], raw[-_MAC[1] :]
        if head not in _OPEN or raw[-_MAC[1] - len(_MAC) : -_MAC[1]] != _MAC:
            raise MalformedMessage(Reason.UNSEALED_PARTIAL, "it carries no MAC: no combiner of ours wrote it")
        body = _OPEN[head] + raw[_HEAD_BYTES : -_MAC[1] - len(_MAC)]
        if not any(hmac.compare_digest(mac, hmac.digest(key, body, _DIGEST)) for key in self._keys):
            raise MalformedMessage(Reason.UNSEALED_PARTIAL, "its MAC is of none of our keys")
