"""docs/format.md 1 and 8 a second time, with struct and packages: the compiled wire is held to it.

Shares no code with quorumlog.  `Frame`, `Body` and `Hello` are plain data that can be told
something wrong, because the tests mostly need wrong bytes.
"""

import hashlib
import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import google_crc32c

HELLO = struct.Struct("<IHHQ16sQQQQ16s44s")
HEADER = struct.Struct("<IHHQQQQ8QII")  # behind magic and crc
IDENTITY = struct.Struct("<BBHQQQQIIQQQII")  # behind its crc

DIALER, ACCEPTOR = 1, 2
ENTRIES, BLANK, HARD_STATE, MEMBERSHIP = 1, 2, 3, 10
RAFT = 1
FRAME_BYTES_MAX = 32 << 20


def crc(data: bytes) -> int:
    return int(google_crc32c.value(data))


def body(payloads: list[bytes]) -> bytes:
    offsets = [0]
    for payload in payloads:
        offsets.append(offsets[-1] + len(payload))
    table = struct.pack(f"<{len(offsets)}I", *offsets)
    packed = b"".join(payloads)
    return table + bytes(-len(table) % 8) + packed + bytes(-len(packed) % 8)


@dataclass(frozen=True)
class Body:
    group: int
    term: int
    first: int
    count: int
    data: bytes
    kind: int = ENTRIES
    session: int = 0
    sequence: int = 0
    version: int = 1
    body_bytes: int | None = None  # None: the truth
    body_crc: int | None = None

    def identity(self) -> bytes:
        size = len(self.data) if self.body_bytes is None else self.body_bytes
        checksum = crc(self.data) if self.body_crc is None else self.body_crc
        rest = IDENTITY.pack(
            self.version, self.kind, 0, self.group, self.term, 0, self.first, self.count, size,
            self.session, self.sequence, 0, checksum, 0,
        )  # fmt: skip
        return struct.pack("<I", crc(rest)) + rest

    def native(self) -> tuple[object, ...]:
        """What bridge/testing_wire takes."""
        return (
            self.kind, self.group, self.term, self.first, self.count, self.session, self.sequence,
            self.data,
        )  # fmt: skip


@dataclass(frozen=True)
class Frame:
    kind: int
    group: int
    sender: int
    target: int
    term: int
    fields: tuple[int, ...]
    bodies: tuple[Body, ...] = ()
    protocol: int = RAFT
    magic: int = 0x31464C51
    reserved: int = 0
    length: int | None = None
    batch_count: int | None = None

    def encode(self) -> bytes:
        identities = b"".join(b.identity() for b in self.bodies)
        length = len(identities) + sum(len(b.data) for b in self.bodies)
        rest = HEADER.pack(
            length if self.length is None else self.length,
            self.kind,
            len(self.bodies) if self.batch_count is None else self.batch_count,
            self.group, self.sender, self.target, self.term, *self.fields,
            self.protocol, self.reserved,
        )  # fmt: skip
        head = struct.pack("<II", self.magic, crc(rest + identities)) + rest + identities
        return head + b"".join(b.data for b in self.bodies)

    def native(self) -> tuple[object, ...]:
        return (
            self.kind, self.protocol, self.group, self.sender, self.target, self.term, self.fields,
            [b.native() for b in self.bodies],
        )  # fmt: skip

    def delivered(self) -> tuple[object, ...]:
        """What bridge/testing_wire hands out when this frame arrived."""
        return (
            self.kind, self.protocol, self.group, self.sender, self.target, self.term, self.fields,
            [(b.identity(), b.data) for b in self.bodies],
        )  # fmt: skip


def split(stream: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, batch count and bytes of each frame of a valid stream."""
    at = 0
    while at < len(stream):
        magic, checksum, length, kind, batches = struct.unpack_from("<IIIHH", stream, at)
        assert magic == 0x31464C51
        assert checksum == crc(stream[at + 8 : at + 120 + 80 * batches])
        yield kind, batches, stream[at : at + 120 + length]
        at += 120 + length


@dataclass(frozen=True)
class Hello:
    role: int
    sender: int
    target: int
    cluster: bytes = b"c" * 16
    incarnation: int = 1
    epoch: int = 1
    nonce: bytes = b"n" * 16
    magic: int = 0x49484C51
    version: int = 1
    features: int = 0
    reserved: bytes = field(default=bytes(44))

    def encode(self) -> bytes:
        packed = HELLO.pack(
            self.magic, self.version, self.role, self.features, self.cluster, self.sender,
            self.target, self.incarnation, self.epoch, self.nonce, self.reserved,
        )  # fmt: skip
        return packed + struct.pack("<I", crc(packed))

    @classmethod
    def decode(cls, data: bytes) -> "Hello":
        assert len(data) == 128
        assert struct.unpack_from("<I", data, 124)[0] == crc(data[:124])
        magic, version, role, features, cluster, sender, target, incarnation, epoch, nonce, rest = (
            HELLO.unpack_from(data)
        )
        return cls(role, sender, target, cluster, incarnation, epoch, nonce, magic, version, features, rest)


def proof(token: bytes, role: int, dialer: bytes, acceptor: bytes, magic: int = 0x46504C51) -> bytes:
    mac = hmac.new(token, bytes([role]) + dialer + acceptor, hashlib.sha256).digest()
    rest = mac + bytes(8)
    return struct.pack("<II", magic, crc(rest)) + rest
