"""The combiner's seal on a partial: who has no key cannot make evidence, though he may write `fleet.partials`. Pure.

A sealed partial is the same MessagePack array with one element more, a MAC over the encoding without it. So whoever has
no key reads it like any other, and the bytes in a dead letter still have their seal.
"""

import hashlib
import hmac
from collections.abc import Sequence

from pipeline.wire.partials import Partial
from pipeline.wire.reasons import MalformedMessage, Reason

MIN_SECRET_CHARS = 32
_DIGEST = "sha256"
_PURPOSE = b"andon partial 1"  # the key of a MAC is derived, so a secret that serves elsewhere too proves nothing here
_FIELDS = len(Partial.__struct_fields__)
_OPEN = bytes([0x90 | _FIELDS])  # MessagePack: an array of up to 15
_SEALED = b"\xdc" + (_FIELDS + 1).to_bytes(2, "big")  # of more
_MAC = b"\xc4" + bytes([hashlib.new(_DIGEST).digest_size])  # so many bytes
SEAL_BYTES = len(_SEALED) - len(_OPEN) + len(_MAC) + _MAC[1]


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
        return b"".join((_SEALED, raw[len(_OPEN) :], _MAC, hmac.digest(self._keys[0], raw, _DIGEST)))

    def check(self, raw: bytes) -> None:
        """Raises MalformedMessage (UNSEALED_PARTIAL) unless the bytes carry a seal of one of these secrets."""
        head, mac = raw[: len(_SEALED)], raw[-_MAC[1] :]
        if head != _SEALED or raw[-_MAC[1] - len(_MAC) : -_MAC[1]] != _MAC:
            raise MalformedMessage(Reason.UNSEALED_PARTIAL, "it carries no MAC: no combiner of ours wrote it")
        body = _OPEN + raw[len(_SEALED) : -_MAC[1] - len(_MAC)]
        if not any(hmac.compare_digest(mac, hmac.digest(key, body, _DIGEST)) for key in self._keys):
            raise MalformedMessage(Reason.UNSEALED_PARTIAL, "its MAC is of none of our keys")
