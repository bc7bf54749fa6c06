"""What a state machine's `snapshot` may return: views of its state that stay as they are while it goes on."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Generic, TypeVar

from quorumlog.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

__all__ = ["CowDict", "FrozenItems", "frozen_copy", "pack_items", "unpack_items"]

Key = TypeVar("Key", bound=bytes | str | int)
Value = TypeVar("Value")

SHARDS = 1024
PIECE_BYTES = 1 << 20
_LENGTHS = struct.Struct("<II")


def frozen_copy(data: Buffer) -> Iterator[memoryview]:
    """Copies a buffer now, and gives the copy out in pieces of 1 MiB.

    For states that are one array: `return ql.frozen_copy(self.balances)`.  The copy takes as long as a memcpy,
    about 0.1 s per GiB, during which nothing is applied; for larger states see CowDict, or use a durable one.

    Args:
        data: bytes, a bytearray, a NumPy array that lies contiguously, or the like.
    """
    return _pieces(memoryview(bytes(memoryview(data).cast("B"))))


def _pieces(copy: memoryview) -> Iterator[memoryview]:
    for at in range(0, len(copy), PIECE_BYTES):
        yield copy[at : at + PIECE_BYTES]


def pack_items(items: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Keys and values as bytes, for `snapshot`; `unpack_items` is the way back.

    Args:
        items: for instance `table.freeze()`, gone through while the pieces are taken; at most 4 GiB - 1 each.
    """
    piece = bytearray()
    for key, value in items:
        piece += _LENGTHS.pack(len(key), len(value))
        piece += key
        piece += value
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def unpack_items(source: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """What `pack_items` packed, from the pieces that `restore` gets, however they are cut.

    Raises:
        UsageError: the bytes end within an item.
    """
    rest = bytearray()
    for piece in source:
        rest += piece
        at = 0
        while len(rest) - at >= _LENGTHS.size:
            key_bytes, value_bytes = _LENGTHS.unpack_from(rest, at)
            middle = at + _LENGTHS.size + key_bytes
            if len(rest) < middle + value_bytes:
                break
            yield bytes(rest[at + _LENGTHS.size : middle]), bytes(rest[middle : middle + value_bytes])
            at = middle + value_bytes
        del rest[:at]
    if rest:
        raise UsageError(f"{len(rest)} bytes behind the last whole item: these are not packed items")


def _place(key: bytes | str | int) -> int:
    """Which shard: the same on every node and in every run, unlike hash()."""
    if isinstance(key, int):
        return key % SHARDS
    if isinstance(key, str):
        return zlib.crc32(key.encode()) % SHARDS
    if isinstance(key, bytes):
        return zlib.crc32(key) % SHARDS
    raise UsageError(f"keys of a CowDict are bytes, str or int, not {type(key).__name__}")


class FrozenItems(Generic[Key, Value]):
    """The items of a CowDict as they were when it was frozen; may be gone through by any thread."""

    def __init__(self, shards: list[dict[Key, Value]]) -> None:
        self._shards = shards

    def __iter__(self) -> Iterator[tuple[Key, Value]]:
        for shard in self._shards:
            yield from shard.items()

    def __len__(self) -> int:
        return sum(map(len, self._shards))


class CowDict(MutableMapping[Key, Value]):
    """A dict that can be frozen in 10 µs: what is changed afterwards is copied first (copy on write).

    It lies in 1,024 small dicts.  `freeze` hands these out and from then on copies each once, when it is first
    changed: a pause of microseconds where a copy of a dict of millions would take a second.  Keys are bytes, str
    or int.  Values must not be changed in place (bytes, numbers, tuples): put a new one.

    Iteration goes through the small dicts in turn: an order of its own, but the same on every node that applied
    the same, also on one that began from a snapshot.

    One thread changes it; frozen items may be gone through by others meanwhile.
    """

    def __init__(self, items: Iterable[tuple[Key, Value]] = ()) -> None:
        self._shards: list[dict[Key, Value]] = [{} for _ in range(SHARDS)]
        self._shared = bytearray(SHARDS)  # 1: handed out by freeze, to be copied before a change
        for key, value in items:
            self[key] = value

    def freeze(self) -> FrozenItems[Key, Value]:
        """The items of now; they stay as they are whatever is changed here."""
        self._shared = bytearray(b"\x01") * SHARDS
        return FrozenItems(self._shards.copy())

    def _own(self, place: int) -> dict[Key, Value]:
        if self._shared[place]:
            self._shards[place] = self._shards[place].copy()
            self._shared[place] = 0
        return self._shards[place]

    def __getitem__(self, key: Key) -> Value:
        return self._shards[_place(key)][key]

    def __setitem__(self, key: Key, value: Value) -> None:
        self._own(_place(key))[key] = value

    def __delitem__(self, key: Key) -> None:
        place = _place(key)
        if key not in self._shards[place]:
            raise KeyError(key)
        del self._own(place)[key]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, (bytes, str, int)) and key in self._shards[_place(key)]

    def __iter__(self) -> Iterator[Key]:
        for shard in self._shards:
            yield from shard

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __repr__(self) -> str:
        return f"<CowDict of {len(self)} items>"
