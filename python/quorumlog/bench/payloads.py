"""The bytes that a load proposes: random ones, made once, with a number stamped in front of each proposal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def template(payload: int, count: int) -> npt.NDArray[np.uint8]:
    """The bytes of `count` entries, the same in every proposal but for the stamp in front."""
    return np.random.default_rng(payload * 1_000_003 + count).integers(0, 256, payload * count, np.uint8)


def stamp_bytes(stamp: int, payload: int) -> bytes:
    return stamp.to_bytes(8, "little")[:payload]
