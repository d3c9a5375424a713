"""Numpy arrays that grow, and their way into a snapshot."""

import struct
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BLOCK_STRATA = 8  # gone through at a time where all strata times all updates would not stay in the cache
_NDARRAY = 1


def grown(array: NDArray[Any], shape: tuple[int, ...], fill: float = 0.0) -> NDArray[Any]:
    """`array` with at least this shape; new entries are `fill`. The array itself when it is large enough."""
    if all(have >= want for have, want in zip(array.shape, shape, strict=True)):
        return array
    larger = np.full([max(h, w) for h, w in zip(array.shape, shape, strict=True)], fill, dtype=array.dtype)
    larger[tuple(slice(0, have) for have in array.shape)] = array
    return larger


def add_at(target: Floats, where: tuple[Ints, ...], values: Floats) -> None:
    """`np.add.at` for a contiguous array of several axes, ten times as fast: numpy is quick for one axis only."""
    np.add.at(target.reshape(-1), np.ravel_multi_index(where, target.shape), values)


def places(numbers: Ints) -> dict[int, int]:
    """Each number's place in the array."""
    return {number: place for place, number in enumerate(numbers.tolist())}


def capacity(size: int) -> int:
    """The next power of two, at least 8: arrays grow rarely."""
    return max(8, 1 << (size - 1).bit_length()) if size else 8


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        head = msgspec.msgpack.encode((value.dtype.str, value.shape))
        return msgspec.msgpack.Ext(_NDARRAY, struct.pack("<I", len(head)) + head + value.tobytes())
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a snapshot cannot hold {type(value)}")


def _decode(code: int, data: memoryview) -> Any:
    if code != _NDARRAY:
        raise ValueError(f"unknown extension {code} in a snapshot")
    (size,) = struct.unpack_from("<I", data)
    dtype, shape = msgspec.msgpack.decode(data[4 : 4 + size])
    return np.frombuffer(data, dtype=dtype, offset=4 + size).reshape(shape).copy()


def pack(value: Any) -> bytes:
    """MessagePack of builtins and arrays."""
    return msgspec.msgpack.encode(value, enc_hook=_encode)


def unpack(raw: bytes) -> Any:
    """The inverse of `pack`."""
    return msgspec.msgpack.decode(raw, ext_hook=_decode, strict=False)


def int_columns(blob: bytes, columns: int) -> Ints:
    """Int32 rows as int64, each column in one piece; shape (columns, rows)."""
    return np.frombuffer(blob, dtype="<i4").reshape(-1, columns).T.astype(np.int64, order="C")
