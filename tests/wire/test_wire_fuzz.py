"""Hostile bytes: mutated valid streams and noise never crash, and never deliver what wasn't sent.

`QUORUMLOG_FUZZ_CASES` sets the number of cases, QUORUMLOG_DEPTH=deep (`make fuzz`) a large one, and
`QUORUMLOG_FUZZ_SEED` the first seed.  A failure names the seed that repeats it.
"""

import os
import random
import struct

from fake_peer import TOKEN, World, dialer_hello
from wire_oracle import DIALER, Body, Frame, body, crc, proof

from quorumlog._core.bridge import testing_wire as core

DEEP = os.environ.get("QUORUMLOG_DEPTH") == "deep"
CASES = int(os.environ.get("QUORUMLOG_FUZZ_CASES", "400000" if DEEP else "6000"))
SEED = int(os.environ.get("QUORUMLOG_FUZZ_SEED", "0"))
ERR_PEER, ERR_MEMORY, ERR_AGAIN = 30, 50, 51
NODE, PEER = 1, 2
INTERESTING = [0, 1, 7, 8, 79, 80, 119, 120, 255, 256, 257, 1 << 20, (16 << 20) + 8, (32 << 20) + 1]


def random_frame(rng: random.Random, number: int) -> Frame:
    bodies = tuple(
        Body(
            7,
            rng.getrandbits(64),
            1 + number,
            (count := rng.randint(1, 5)),
            body([rng.randbytes(rng.randint(0, 60)) for _ in range(count)]),
        )
        for _ in range(rng.choice([0, 0, 1, 1, 2, 5]))
    )
    fields = tuple(rng.getrandbits(64) for _ in range(8))
    return Frame(number, 7, PEER, NODE, rng.getrandbits(64), fields, bodies)


def mutate(rng: random.Random, stream: bytearray) -> None:
    at = rng.randrange(len(stream))
    match rng.randrange(7):
        case 0:
            stream[at] ^= 1 << rng.randrange(8)
        case 1:
            stream[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        case 2:
            del stream[at : at + rng.choice([1, 2, 8, 80, 120, 500])]
        case 3:
            stream[at:at] = rng.randbytes(rng.choice([1, 2, 8, 80, 120, 500]))
        case 4:
            source = rng.randrange(len(stream))
            piece = stream[source : source + rng.choice([4, 8, 80, 120, 500])]
            stream[at : at + len(piece)] = piece
        case 5:
            stream[at : at + 4] = struct.pack("<I", rng.choice(INTERESTING))
        case _:
            del stream[at:]
    if not stream:
        stream.append(0)


def reseal(rng: random.Random, frame: bytes) -> bytes:
    """Changes a head and makes its checksums right again: bounds alone can refuse it."""
    data = bytearray(frame)
    batches = struct.unpack_from("<H", data, 14)[0]
    for _ in range(rng.randint(1, 3)):
        where = rng.choice([8, 12, 14, 16, 24, 32, 112, 116])
        if batches and rng.random() < 0.7:
            identity = 120 + 80 * rng.randrange(batches)
            where = identity + rng.choice([4, 5, 6, 8, 32, 40, 44, 72, 76])
        if rng.random() < 0.5:
            data[where] ^= 1 << rng.randrange(8)
        else:
            struct.pack_into("<I", data, where, rng.choice([*INTERESTING, rng.getrandbits(32)]))
    for i in range(batches):
        at = 120 + 80 * i
        struct.pack_into("<I", data, at, crc(bytes(data[at + 4 : at + 80])))
    named = struct.unpack_from("<H", data, 14)[0]
    struct.pack_into("<I", data, 4, crc(bytes(data[8 : 120 + 80 * named])))
    return bytes(data)


def feed_in_pieces(rng: random.Random, decoder: core.Decoder, stream: bytes) -> list[tuple[object, ...]]:
    got, at = [], 0
    while at < len(stream):
        size = rng.choice([1, 7, 120, 300, 5000, 1 << 20])
        got += decoder.feed(stream[at : at + size])
        at += size
    return got


def test_mutated_streams_deliver_only_what_was_sent() -> None:
    for seed in range(SEED, SEED + CASES):
        rng = random.Random(seed)
        sent = [random_frame(rng, number) for number in range(rng.randint(1, 5))]
        allowed = [frame.delivered() for frame in sent]
        stream = bytearray(b"".join(frame.encode() for frame in sent))
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            mutate(rng, stream)
        decoder = core.Decoder(NODE, PEER, 64 << 20)
        got = feed_in_pieces(rng, decoder, bytes(stream))
        assert all(message in allowed for message in got), f"seed {seed}"
        assert decoder.status in (ERR_PEER, ERR_AGAIN), f"seed {seed}"


def test_resealed_frames_deliver_at_most_what_their_checksums_cover() -> None:
    """Bodies are never touched here, so whatever is delivered has bodies that were sent."""
    delivered = 0
    for seed in range(SEED, SEED + CASES):
        rng = random.Random(seed)
        sent = random_frame(rng, 1)
        pool_limit = rng.choice([1 << 16, 64 << 20])
        decoder = core.Decoder(NODE, PEER, pool_limit)
        got = feed_in_pieces(rng, decoder, reseal(rng, sent.encode()))
        delivered += len(got)
        for message in got:
            assert message[3:5] == (PEER, NODE), f"seed {seed}"
            assert message[1] == 1, f"seed {seed}"
            bodies = message[7]
            assert [data for _, data in bodies] == [b.data for b in sent.bodies], f"seed {seed}"
            for identity, data in bodies:
                group, count = struct.unpack_from("<Q", identity, 8)[0], identity[40:44]
                assert group == message[2], f"seed {seed}"
                assert crc(data) == struct.unpack_from("<I", identity, 72)[0], f"seed {seed}"
                assert 4 * (struct.unpack("<I", count)[0] + 1) <= len(data), f"seed {seed}"
        assert decoder.pool.used_bytes <= pool_limit, f"seed {seed}"
    assert 0 < delivered < CASES  # the mutations are neither all fatal nor all harmless


def test_noise_delivers_nothing() -> None:
    magic = struct.pack("<I", 0x31464C51)
    for seed in range(SEED, SEED + CASES // 4):
        rng = random.Random(seed)
        stream = rng.choice([b"", magic]) + rng.randbytes(rng.choice([10, 150, 3000]))
        decoder = core.Decoder(NODE, PEER)
        assert feed_in_pieces(rng, decoder, stream) == [], f"seed {seed}"
        assert decoder.pool.used_bytes == 0, f"seed {seed}"


def test_mutated_openings_never_let_anyone_in(world: World) -> None:
    node = world.node(1, connections_max=16)
    node.add_peer(2, 1)
    cases = max(CASES // 20, 1)
    frame = Frame(1, 7, 2, 1, 3, tuple(range(8))).encode()
    for seed in range(SEED, SEED + cases):
        rng = random.Random(seed)
        hello = bytearray(dialer_hello().encode())
        peer = world.connect(node.port)
        if rng.random() < 0.5:
            mutate(rng, hello)
            hello += rng.randbytes(128)
            world.send(peer, bytes(hello))
            world.send(peer, proof(TOKEN, DIALER, bytes(hello[:128]), rng.randbytes(128)) + frame)
        else:
            world.send(peer, bytes(hello))
            mutated = bytearray(proof(TOKEN, DIALER, bytes(hello), world.receive(peer, 128)))
            right = bytes(mutated)
            while bytes(mutated[:48]) == right:
                mutate(rng, mutated)
            world.send(peer, bytes(mutated) + frame + bytes(48))
        world.closed(peer)
        peer.close()
        world.sockets.remove(peer)
        assert node.status()["refused_openings"] == seed - SEED + 1, f"seed {seed}"
    assert node.messages == []
    assert node.incarnations == {}


def test_mutated_streams_over_sockets(world: World) -> None:
    """As the first test, through a real connection: closed and counted, and nothing else."""
    node = world.node(1, connections_max=16)
    node.add_peer(2, 1)
    for seed in range(SEED, SEED + max(CASES // 30, 1)):
        rng = random.Random(seed)
        hello = dialer_hello().encode()
        peer = world.connect(node.port)
        world.send(peer, hello)
        world.send(peer, proof(TOKEN, DIALER, hello, world.receive(peer, 128)))
        assert len(world.receive(peer, 48)) == 48, f"seed {seed}"
        sent = [random_frame(rng, number) for number in range(1, 4)]
        stream = bytearray(b"".join(made.encode() for made in sent))
        mutate(rng, stream)
        node.messages.clear()
        # Noise behind it: there it is refused at the latest.
        world.send(peer, bytes(stream) + b"\xff" * 200)
        peer.close()
        world.sockets.remove(peer)
        expected = seed - SEED + 1
        world.pump(lambda: node.status()["refused_frames"] == expected)  # noqa: B023
        allowed = [made.delivered() for made in sent]
        assert all(message in allowed for message in node.messages), f"seed {seed}"
        assert node.pool.used_bytes == 0, f"seed {seed}"
