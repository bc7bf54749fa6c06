"""Results of state machines as bytes, for what is replicated or kept: plain values and arrays, nothing that runs."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from quorumlog.errors import UsageError

__all__ = ["decode_results", "encode_results"]

DEPTH_MAX = 8


def encode_results(results: Any) -> bytes:
    """What `apply` returned for a batch.

    Args:
        results: None, an array of numbers or fixed-size strings, or a list or tuple; in it None, bool, int, float,
            str, bytes, NumPy scalars, arrays, and lists and tuples of these.

    Raises:
        UsageError: something else is in it.
    """
    if results is None:
        return b""
    parts: list[bytes] = []
    _encode(results, parts, DEPTH_MAX)
    return b"".join(parts)


def decode_results(data: bytes) -> Any:
    """What was encoded; UsageError if it was not."""
    if not data:
        return None
    try:
        value, end = _decode(data, 0, DEPTH_MAX)
    except (struct.error, ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"these bytes are no results: {error}") from error
    if end != len(data):
        raise UsageError(f"results end at byte {end} of {len(data)}")
    return value


def _sized(tag: bytes, data: bytes) -> bytes:
    return tag + struct.pack("<I", len(data)) + data


def _encode(value: Any, parts: list[bytes], depth: int) -> None:
    kind = type(value)
    if value is None:
        parts.append(b"n")
    elif kind is bool:
        parts.append(b"t" if value else b"f")
    elif kind is int:
        parts.append(_sized(b"i", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)))
    elif kind is float:
        parts.append(b"d" + struct.pack("<d", value))
    elif kind is str:
        parts.append(_sized(b"s", value.encode()))
    elif kind is bytes:
        parts.append(_sized(b"b", value))
    elif isinstance(value, (np.ndarray, np.generic)):
        _encode_array(value, parts)
    elif kind in (list, tuple) and depth > 0:
        parts.append((b"l" if kind is list else b"u") + struct.pack("<I", len(value)))
        for one in value:
            _encode(one, parts, depth - 1)
    else:
        raise UsageError(
            f"a command of a client's session returned {kind.__name__} (or nests too deep): its result is kept for"
            " repetitions, so it must be None, bool, int, float, str, bytes, an array, or a list or tuple of these"
        )


def _encode_array(value: np.ndarray[Any, Any] | np.generic, parts: list[bytes]) -> None:
    if value.dtype.kind not in "biufcSUmM":
        raise UsageError(f"a command of a client's session returned an array of {value.dtype}, which can't be kept")
    parts.append(b"g" if isinstance(value, np.generic) else b"a")
    parts.append(_sized(b"", value.dtype.str.encode()))
    parts.append(struct.pack(f"<I{value.ndim}Q", value.ndim, *value.shape))
    parts.append(_sized(b"", value.tobytes()))


def _take(data: bytes, at: int) -> tuple[bytes, int]:
    (size,) = struct.unpack_from("<I", data, at)
    if size > len(data) - at - 4:
        raise ValueError(f"{size} bytes at {at} of {len(data)}")
    return data[at + 4 : at + 4 + size], at + 4 + size


def _decode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    tag = data[at : at + 1]
    at += 1
    if tag in (b"n", b"t", b"f"):
        return {b"n": None, b"t": True, b"f": False}[tag], at
    if tag == b"d":
        return struct.unpack_from("<d", data, at)[0], at + 8
    if tag in (b"i", b"s", b"b"):
        taken, at = _take(data, at)
        if tag == b"i":
            return int.from_bytes(taken, "little", signed=True), at
        return (taken.decode() if tag == b"s" else taken), at
    if tag in (b"a", b"g"):
        return _decode_array(data, at, tag == b"g")
    if tag in (b"l", b"u") and depth > 0:
        (count,) = struct.unpack_from("<I", data, at)
        at += 4
        values = []
        for _ in range(count):
            value, at = _decode(data, at, depth - 1)
            values.append(value)
        return (values if tag == b"l" else tuple(values)), at
    raise ValueError(f"tag {tag!r}")


def _decode_array(data: bytes, at: int, scalar: bool) -> tuple[Any, int]:
    name, at = _take(data, at)
    dtype = np.dtype(name.decode())
    if dtype.kind not in "biufcSUmM":
        raise ValueError(f"an array of {dtype}")
    (dimensions,) = struct.unpack_from("<I", data, at)
    if dimensions > 32:
        raise ValueError(f"{dimensions} dimensions")
    shape = struct.unpack_from(f"<{dimensions}Q", data, at + 4)
    content, at = _take(data, at + 4 + 8 * dimensions)
    array = np.frombuffer(content, dtype).reshape(shape).copy()
    return (array[()] if scalar else array), at
