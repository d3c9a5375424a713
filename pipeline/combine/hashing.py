"""A 64-bit hash of host names: the same in every process, and computed for many names at once. Pure."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
_SHIFT = np.uint64(32)
_WORD_BYTES = 8


def mix(values: Hashes) -> Hashes:
    """MurmurHash3's finalizer: a bijection that spreads every bit over all bits."""
    for multiplier in _MULTIPLIERS[1:]:
        values = (values ^ (values >> _SHIFT)) * multiplier
    return values ^ (values >> _SHIFT)


def hash_names(names: Sequence[str]) -> Hashes:
    """The hash of each name's UTF-8 bytes. Not keyed: it spreads names evenly, it does not resist an adversary."""
    if not names:
        return np.zeros(0, np.uint64)
    words = _words(names)
    hashes = np.zeros(len(names), np.uint64)
    for column in range(words.shape[1]):
        word = words[:, column]
        # A zero word is padding: the hash must not depend on how long the other names are.
        hashes = np.where(word != 0, mix(hashes * _MULTIPLIERS[0] ^ word), hashes)
    return hashes


def _words(names: Sequence[str]) -> Hashes:
    """One row of little-endian 64-bit words a name, padded with zeros."""
    try:
        width = _padded(max(map(len, names)))
        table = np.array(names, dtype=f"S{width}")  # refuses what is not ASCII
    except UnicodeEncodeError:
        encoded = [name.encode() for name in names]
        width = _padded(max(map(len, encoded)))
        table = np.array(encoded, dtype=f"S{width}")
    return table.view("<u8").reshape(len(names), width // _WORD_BYTES)


def _padded(length: int) -> int:
    return max(1, -(-length // _WORD_BYTES)) * _WORD_BYTES
