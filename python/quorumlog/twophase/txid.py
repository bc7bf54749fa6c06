"""Ids of transactions, and the form in which databases know them."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

from quorumlog.errors import UsageError
from quorumlog.names import check_name

__all__ = ["FORMAT_ID", "Gid", "Txid"]

# "QL": the X/Open format id of this product's transactions.
FORMAT_ID = 0x514C
TEXT = re.compile(r"([0-9a-f]{16})-([0-9a-f]{1,8})-([0-9a-f]{8})-([0-9a-f]{1,16})")


class Txid(NamedTuple):
    """Which coordinator began it, in which of its lives, and the how-manieth it was.

    The text form is what the CLI, the logs and the databases show.
    """

    coordinator: int
    incarnation: int
    nonce: int
    number: int

    @property
    def parts(self) -> tuple[int, int, int, int]:
        """A plain tuple, as the core takes it."""
        return self.coordinator, self.incarnation, self.nonce, self.number

    def __str__(self) -> str:
        return f"{self.coordinator:016x}-{self.incarnation:x}-{self.nonce:08x}-{self.number:x}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The id of its text form; UsageError for anything else."""
        found = TEXT.fullmatch(text)
        if found is None:
            raise UsageError(f"{text!r} is not the id of a transaction, like 00c0ffee00c0ffee-1-0badcafe-2a")
        return cls(*(int(part, 16) for part in found.groups()))


class Gid(NamedTuple):
    """A branch as a database knows it: the transaction (gtrid, at most 64 bytes) and the participant (bqual)."""

    txid: Txid
    participant: str

    @property
    def gtrid(self) -> str:
        return str(self.txid)

    @property
    def bqual(self) -> str:
        return self.participant

    @classmethod
    def of(cls, format_id: int, gtrid: str, bqual: str) -> Self | None:
        """None for what is not this product's: recovery leaves it alone."""
        if format_id != FORMAT_ID or TEXT.fullmatch(gtrid) is None:
            return None
        return cls(Txid.parse(gtrid), bqual)


def check_participant(name: str) -> str:
    """A participant's name goes into its gids: 1 to 64 bytes of ASCII letters, digits and `_.-`."""
    check_name(name, "a participant's name", 64)
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise UsageError(f"a participant's name has letters, digits and _ . - only, not {name!r}")
    return name
