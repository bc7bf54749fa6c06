"""Frames: the compiled encoder and receiver against the Python ones; everything wrong refused."""

import dataclasses
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_oracle import (
    BLANK,
    ENTRIES,
    FRAME_BYTES_MAX,
    HARD_STATE,
    MEMBERSHIP,
    Body,
    Frame,
    body,
    crc,
)

from quorumlog._core.bridge import testing_wire as core

NODE, PEER = 1, 2
ERR_PEER, ERR_MEMORY, ERR_AGAIN = 30, 50, 51
u16 = st.integers(0, 2**16 - 1)
u64 = st.integers(0, 2**64 - 1)


def made_body(group: int, payloads: list[bytes], kind: int = ENTRIES, first: int = 1) -> Body:
    return Body(group, 3, first, len(payloads), body(payloads), kind)


def frame(*bodies: Body, **changes: object) -> Frame:
    made = Frame(4, 7, PEER, NODE, 9, tuple(range(8)), bodies)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    group = draw(u64)
    bodies = [
        dataclasses.replace(
            made_body(
                group,
                draw(st.lists(st.binary(max_size=300), min_size=1, max_size=9)),
                draw(st.sampled_from([ENTRIES, BLANK, MEMBERSHIP])),
                draw(st.integers(1, 2**62)),
            ),
            term=draw(u64),
            session=draw(u64),
            sequence=draw(u64),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    fields = tuple(draw(st.lists(u64, min_size=8, max_size=8)))
    return Frame(draw(u16), group, PEER, NODE, draw(u64), fields, tuple(bodies))


@given(frames())
@settings(max_examples=200)
def test_encoder_writes_what_the_format_page_says(made: Frame) -> None:
    assert core.encode(made.native()) == made.encode()


@given(st.lists(frames(), max_size=6), st.data())
@settings(max_examples=200)
def test_receiver_hands_out_what_was_sent_however_it_is_cut(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(made.encode() for made in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder = core.Decoder(NODE, PEER)
    got = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += decoder.feed(stream[begin:end])
    assert got == [made.delivered() for made in sent]
    assert decoder.status == ERR_AGAIN
    assert not decoder.partial
    assert decoder.pool.used_bytes == 0


def test_one_byte_at_a_time() -> None:
    sent = [frame(), frame(made_body(7, [b"a", b"", b"ccc"]), made_body(7, [b"d" * 90])), frame()]
    decoder = core.Decoder(NODE, PEER)
    got = []
    for byte in b"".join(made.encode() for made in sent):
        got += decoder.feed(bytes([byte]))
    assert got == [made.delivered() for made in sent]


@pytest.mark.parametrize("size", [4096, 80_000, 262_144, 300_000, 5_000_000, 16_000_000])
def test_large_bodies_between_small_frames(size: int) -> None:
    large = frame(made_body(7, [b"x" * size]), made_body(7, [b"y" * (size // 2)]))
    sent = [frame(), large, frame(), frame(), large, large, frame()]
    decoder = core.Decoder(NODE, PEER, 1 << 27)
    assert decoder.feed(b"".join(made.encode() for made in sent)) == [m.delivered() for m in sent]


def test_the_most_batches() -> None:
    made = frame(*[made_body(7, [bytes([i % 256]) * i]) for i in range(256)])
    decoder = core.Decoder(NODE, PEER)
    assert decoder.feed(made.encode()) == [made.delivered()]
    assert core.encode(made.native()) == made.encode()


good = made_body(7, [b"one", b"two"])


def offsets(*numbers: int, payload: int = 8) -> Body:
    table = struct.pack(f"<{len(numbers)}I", *numbers)
    data = table + bytes(-len(table) % 8) + bytes(payload)
    return Body(7, 3, 1, len(numbers) - 1, data)


WRONG = {
    "magic": frame(magic=0x31464C52),
    "reserved": frame(reserved=1),
    "protocol": frame(good, protocol=77),
    "foreign sender": frame(good, sender=3),
    "foreign target": frame(good, target=PEER),
    "length over the bound": frame(good, length=FRAME_BYTES_MAX + 1),
    "length with the highest bit": frame(good, length=2**32 - 1),
    "length without batches": frame(length=8),
    "length one more": frame(good, length=80 + len(good.data) + 1),
    "length below its identities": frame(good, length=79),
    "length of identities alone": frame(good, length=80),
    "too many batches": frame(length=FRAME_BYTES_MAX, batch_count=257),
    "a batch too few": frame(good, good, batch_count=1),
    "batch of another group": frame(dataclasses.replace(good, group=8)),
    "record of the log itself": frame(dataclasses.replace(good, kind=HARD_STATE)),
    "unknown kind": frame(dataclasses.replace(good, kind=99)),
    "kind zero": frame(dataclasses.replace(good, kind=0)),
    "identity of another version": frame(dataclasses.replace(good, version=2)),
    "no entries": frame(dataclasses.replace(good, count=0)),
    "more entries than the body can hold": frame(dataclasses.replace(good, count=1000)),
    "entries that overflow": frame(dataclasses.replace(good, count=2**32 - 1)),
    "body not a multiple of 8": frame(dataclasses.replace(good, data=good.data[:-1])),
    "body over the bound": frame(dataclasses.replace(good, body_bytes=(16 << 20) + 8)),
    "body of 4 GiB": frame(dataclasses.replace(good, body_bytes=2**32 - 8)),
    "crc of the body": frame(dataclasses.replace(good, body_crc=crc(good.data) ^ 1)),
    "second body wrong": frame(good, dataclasses.replace(good, body_crc=0)),
    "offsets start late": frame(offsets(1, 2, 3)),
    "offsets fall": frame(offsets(0, 5, 3)),
    "offsets run out": frame(offsets(0, 5, 9)),
    "offsets wrap": frame(offsets(0, 2**32 - 1, 8)),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_frames_are_refused_and_hold_nothing(name: str) -> None:
    decoder = core.Decoder(NODE, PEER)
    before, behind = frame(good), frame()
    got = decoder.feed(before.encode() + WRONG[name].encode() + behind.encode())
    assert got == [before.delivered()]
    assert decoder.status == ERR_PEER
    del decoder


def test_every_flipped_bit_is_noticed() -> None:
    made = frame(good, made_body(7, [b"three"]))
    stream = made.encode()
    for at in range(len(stream)):
        for bit in (0, 3, 7):
            mutated = bytearray(stream)
            mutated[at] ^= 1 << bit
            decoder = core.Decoder(NODE, PEER)
            assert decoder.feed(bytes(mutated)) == []
            # Only a batch count that fell or a length that asks for more can leave it waiting.
            waits = at in range(8, 16) and decoder.status == ERR_AGAIN
            assert waits or decoder.status == ERR_PEER


def test_wrong_crc_in_front_of_a_huge_body_takes_no_memory() -> None:
    huge = frame(dataclasses.replace(good, body_bytes=16 << 20), length=80 + (16 << 20)).encode()
    decoder = core.Decoder(NODE, PEER)
    assert decoder.feed(huge[:4] + b"\0\0\0\0" + huge[8:200]) == []
    assert (decoder.status, decoder.pool.used_bytes) == (ERR_PEER, 0)
    decoder = core.Decoder(NODE, PEER)
    assert decoder.feed(huge[:199]) == []
    assert (decoder.status, decoder.pool.used_bytes) == (ERR_AGAIN, 0)
    assert decoder.feed(huge[199:200]) == []
    assert decoder.pool.used_bytes >= 16 << 20  # it is proved now


def test_a_frame_waits_for_memory_and_then_arrives() -> None:
    first = made_body(7, [b"x" * 100_000])
    second = frame(first, first)
    decoder = core.Decoder(NODE, PEER, 1 << 20)
    held = decoder.pool.hold(850_000)
    assert decoder.feed(second.encode() + frame().encode()) == []
    assert decoder.status == ERR_MEMORY
    assert decoder.pool.used_bytes < 900_000  # all or none of its batches
    assert decoder.feed(b"") == []
    held.release()
    assert decoder.feed(b"") == [second.delivered(), frame().delivered()]


def test_a_frame_that_no_empty_pool_could_hold_is_refused() -> None:
    decoder = core.Decoder(NODE, PEER, 1 << 20)
    assert decoder.feed(frame(made_body(7, [b"x" * (1 << 20)])).encode()) == []
    assert decoder.status == ERR_PEER
