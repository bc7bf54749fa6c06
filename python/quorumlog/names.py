"""Names of nodes and groups, and the ids that the core knows them by (docs/adr/0002)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from quorumlog.errors import UsageError

__all__ = ["check_name", "id_of", "ids_of"]


def check_name(name: str, what: str, limit_bytes: int) -> bytes:
    """The UTF-8 of a name of 1 to `limit_bytes` bytes without zero bytes."""
    if not isinstance(name, str):
        raise UsageError(f"{what} is {type(name).__name__}, not a string")
    data = name.encode()
    if not 1 <= len(data) <= limit_bytes or b"\0" in data:
        raise UsageError(f"{what} {name!r} must be 1 to {limit_bytes} bytes of UTF-8 without zero bytes")
    return data


def id_of(name: str) -> int:
    """A stable, never zero 64-bit id: the first eight bytes of the name's SHA-256, little-endian."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return number or 1


def ids_of(names: Iterable[str], what: str) -> dict[int, str]:
    """Ids with their names; refuses two names with one id."""
    found: dict[int, str] = {}
    for name in names:
        number = id_of(name)
        if found.setdefault(number, name) != name:
            raise UsageError(f"{what} {name!r} and {found[number]!r} have the same id; rename one")
    return found
