"""Numpy arrays that grow, columns of them that are declared once, and their way into a snapshot.

A part of a fleet's state declares its columns; making room, forgetting an update and the snapshot follow from that.
"""

import struct
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Axis = Literal["strata", "updates", "signatures"]

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
    flat = where[0]
    for places, size in zip(where[1:], target.shape[1:], strict=True):
        flat = flat * size + places
    np.add.at(target.reshape(-1), flat, values)


def places(numbers: Ints) -> dict[int, int]:
    """Each number's place in the array."""
    return {number: place for place, number in enumerate(numbers.tolist())}


def distinct(numbers: Ints) -> tuple[Ints, Ints]:
    """The distinct numbers in order, and each one's place among them, as `np.unique` finds them: a tenth of its time
    where they are few."""
    listed: list[int] = numbers.tolist()
    found = sorted(set(listed))
    place = {number: at for at, number in enumerate(found)}
    return np.array(found, dtype=np.int64), np.array([place[number] for number in listed], dtype=np.int64)


def capacity(size: int) -> int:
    """The next power of two, at least 8: arrays grow rarely."""
    return max(8, 1 << (size - 1).bit_length()) if size else 8


class Sizes(NamedTuple):
    """How many positions there are on each axis that grows."""

    strata: int
    updates: int
    signatures: int


class Column(NamedTuple):
    """An array of a part: its name in a snapshot (where it stays whatever the attribute is called), its axes, what is
    counted, and what a place holds that nobody has used yet, or whose update was forgotten."""

    name: str
    axes: tuple[Axis | int, ...]
    unit: str
    fill: float = 0.0
    dtype: type = np.float64

    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        """Room for so many."""
        return tuple([axis if isinstance(axis, int) else capacity(getattr(sizes, axis)) for axis in self.axes])


class Plain(NamedTuple):
    """Any other value of a part: its name in a snapshot, what makes an empty one, what it is; a dictionary
    `by_update` loses the updates that are forgotten."""

    name: str
    make: Callable[[], Any]
    unit: str = ""
    by_update: bool = False


class Part:
    """State that belongs together. Each attribute is annotated with its `Column`, or `Plain`.

    >>> from typing import Annotated
    >>> class Seen(Part):
    ...     hosts: Annotated[Floats, Column("hosts", ("updates",), "hosts", fill=1.0)]
    ...     rings: Annotated[dict[int, str], Plain("rings", dict, "by update", by_update=True)]
    >>> seen = Seen()
    >>> seen.resize(Sizes(strata=1, updates=9, signatures=1))
    >>> seen.hosts.shape
    (16,)
    >>> seen.hosts[:], seen.rings[3] = 5.0, "canary"
    >>> seen.forget(np.array([3]))
    >>> seen.hosts[2:5].tolist(), seen.rings
    ([5.0, 1.0, 5.0], {})
    >>> sorted(seen.pack())
    ['hosts', 'rings']
    """

    columns: ClassVar[dict[str, Column]] = {}
    plain: ClassVar[dict[str, Plain]] = {}

    def __init_subclass__(cls) -> None:
        found = [
            (name, each) for name, hint in cls.__annotations__.items() for each in getattr(hint, "__metadata__", ())
        ]
        cls.columns = {name: each for name, each in found if isinstance(each, Column)}
        cls.plain = {name: each for name, each in found if isinstance(each, Plain)}

    def __init__(self) -> None:
        for name, column in self.columns.items():
            setattr(self, name, np.full(column.shape(Sizes(0, 0, 0)), column.fill, dtype=column.dtype))
        for name, value in self.plain.items():
            setattr(self, name, value.make())

    def resize(self, sizes: Sizes) -> None:
        """Make room for so many."""
        for name, column in self.columns.items():
            setattr(self, name, grown(getattr(self, name), column.shape(sizes), column.fill))

    def forget(self, updates: Ints) -> None:
        """These positions are free: whoever has them next finds them as new."""
        for name, column in self.columns.items():
            if "updates" in column.axes:
                getattr(self, name)[(slice(None),) * column.axes.index("updates") + (updates,)] = column.fill
        for name, value in self.plain.items():
            if value.by_update:
                for update in updates.tolist():
                    getattr(self, name).pop(update, None)

    def pack(self) -> Any:
        """What a snapshot holds of it, by name."""
        return {each.name: getattr(self, name) for name, each in (self.columns | self.plain).items()}

    def restore(self, stored: Any) -> None:
        """Take up what `pack` gave. What an older version did not have stays as it is made."""
        for name, each in (self.columns | self.plain).items():
            if each.name in stored:
                setattr(self, name, stored[each.name])


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
