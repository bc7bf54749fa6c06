"""The identity file, the lock and the known peers, in a real directory."""

import errno
import os
import stat
import struct
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumlog._core.bridge import testing_identity as core

OK, ERR_USAGE, ERR_IO, ERR_NO_SPACE, ERR_CORRUPT, ERR_LOCKED, ERR_NOT_FOUND = (
    0, 1, 40, 41, 42, 43, 52,
)  # fmt: skip
CLUSTER = bytes(range(16))
TOKEN = bytes(range(100, 132))
ME = (CLUSTER, 7, 0x1234567890ABCDEF, b"n1", TOKEN)
NOTHING = (bytes(16), 0, 0, b"", b"")


def create(path: Path, *fields, **failing) -> int:
    return core.create(os.fsencode(path), *(fields or ME), **failing)


def read(path: Path) -> tuple:
    return core.read(os.fsencode(path))


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "n1"
    assert create(path) == OK
    return path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- Identity ---------------------------------------------------------------------------------


def test_round_trip_and_permissions(home):
    assert read(home) == (OK, *ME)
    assert mode_of(home) == 0o700
    assert mode_of(home / "identity") == 0o600


def test_the_bytes_are_those_of_the_format_document(home):
    body = b"QLID" + struct.pack("<II16sQQB63s32s", 1, 32, *ME[:3], 2, b"n1", TOKEN)
    body = body.ljust(4092, b"\0")
    expected = struct.pack("<I", google_crc32c.value(body)) + body
    assert (home / "identity").read_bytes() == expected


@settings(max_examples=30)
@given(
    cluster=st.binary(min_size=16, max_size=16),
    node=st.integers(1, 2**64 - 1),
    incarnation=st.integers(1, 2**64 - 1),
    name=st.binary(max_size=63).filter(lambda b: 0 not in b),
    token=st.binary(max_size=32),
)
def test_any_identity(tmp_path_factory, cluster, node, incarnation, name, token):
    home = tmp_path_factory.mktemp("any") / "n"
    fields = (cluster, node, incarnation, name, token)
    assert create(home, *fields) == OK
    assert read(home) == (OK, *fields)


def test_a_second_one_is_refused_and_harmless(home):
    assert create(home, bytes(16), 9, 9, b"other", b"") == ERR_USAGE
    assert read(home) == (OK, *ME)


def test_an_existing_empty_directory_will_do(tmp_path):
    home = tmp_path / "there"
    home.mkdir(mode=0o700)
    assert create(home) == OK
    assert read(home) == (OK, *ME)


def test_a_trailing_slash_and_a_relative_path_will_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert core.create(b"here//", *ME) == OK
    assert core.read(b"here")[0] == OK


@pytest.mark.parametrize(
    "fields",
    [
        (CLUSTER, 0, 1, b"n", TOKEN),
        (CLUSTER, 1, 0, b"n", TOKEN),
        (CLUSTER, 1, 1, b"n" * 64, TOKEN),
        (CLUSTER, 1, 1, b"n", bytes(33)),
    ],
    ids=["no node", "no incarnation", "name too long", "token too long"],
)
def test_unusable_fields_are_refused_before_anything_is_made(tmp_path, fields):
    assert create(tmp_path / "n", *fields) == ERR_USAGE
    assert not (tmp_path / "n").exists()


def test_paths_that_can_not_be(tmp_path):
    assert create(tmp_path / "missing" / "n") == ERR_NOT_FOUND
    assert core.create(b"x" * 5000, *ME) == ERR_USAGE
    assert core.create(b"", *ME) == ERR_USAGE
    (tmp_path / "file").write_bytes(b"")
    assert create(tmp_path / "file") != OK


def test_nothing_there(tmp_path):
    assert read(tmp_path) == (ERR_NOT_FOUND, *NOTHING)
    assert read(tmp_path / "missing") == (ERR_NOT_FOUND, *NOTHING)


def test_every_flipped_byte_is_found(home):
    file = home / "identity"
    good = file.read_bytes()
    for place in range(len(good)):
        file.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
        assert read(home) == (ERR_CORRUPT, *NOTHING), place


@pytest.mark.parametrize("size", [0, 3, 144, 4095, 4097, 8192])
def test_other_sizes_are_corrupt(home, size):
    file = home / "identity"
    file.write_bytes((file.read_bytes() * 2)[:size])
    assert read(home) == (ERR_CORRUPT, *NOTHING)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (4, b"QLIX"),
        (8, struct.pack("<I", 2)),
        (12, struct.pack("<I", 33)),
        (12, struct.pack("<I", 31)),
        (32, bytes(8)),
        (40, bytes(8)),
        (48, b"\x40"),
        (48, b"\x01"),
        (48, b"\x03"),
        (60, b"x"),
        (144, b"x"),
        (4095, b"x"),
    ],
)
def test_a_right_checksum_is_not_enough(home, place, value):
    file = home / "identity"
    body = bytearray(file.read_bytes())
    body[place : place + len(value)] = value
    body[:4] = struct.pack("<I", google_crc32c.value(bytes(body[4:])))
    file.write_bytes(body)
    assert read(home) == (ERR_CORRUPT, *NOTHING)


@pytest.mark.parametrize(
    ("error", "status"),
    [(errno.EIO, ERR_IO), (errno.ENOSPC, ERR_NO_SPACE), (errno.EDQUOT, ERR_NO_SPACE)],
)
@pytest.mark.parametrize("call", ["write", "sync"])
def test_a_failed_creation_leaves_nothing_and_can_be_repeated(tmp_path, call, error, status):
    home = tmp_path / "n"
    assert create(home, *ME, failing=(call,), error=error) == status
    assert not (home / "identity").exists()
    assert create(home) == OK


def test_an_unsynced_directory_is_no_success(tmp_path):
    failed = create(tmp_path / "n", *ME, failing=("sync_directory",), error=errno.EIO)
    assert failed == ERR_IO
    assert not (tmp_path / "n" / "identity").exists()


# --- Lock -------------------------------------------------------------------------------------


def test_the_lock_is_exclusive_until_closed(home):
    status, descriptor = core.lock(os.fsencode(home))
    assert status == OK
    assert mode_of(home / "lock") == 0o600
    assert core.lock(os.fsencode(home))[0] == ERR_LOCKED
    core.unlock(descriptor)
    status, descriptor = core.lock(os.fsencode(home))
    assert status == OK
    core.unlock(descriptor)


def test_no_directory_no_lock(tmp_path):
    assert core.lock(os.fsencode(tmp_path / "missing"))[0] == ERR_NOT_FOUND


# --- Peers ------------------------------------------------------------------------------------

PEERS = st.dictionaries(st.integers(1, 2**64 - 1), st.integers(1, 2**64 - 1), max_size=64)


def test_no_peers_yet(home):
    assert core.read_peers(os.fsencode(home)) == (OK, {})


@settings(max_examples=30)
@given(known=PEERS, more=PEERS)
def test_peers_round_trip_and_replacement(tmp_path_factory, known, more):
    home = os.fsencode(tmp_path_factory.mktemp("peers"))
    for peers in (known, more):
        assert core.write_peers(home, list(peers.items())) == OK
        assert core.read_peers(home) == (OK, peers)
    assert os.listdir(home) == [b"peers"]


def test_peers_bytes_and_permissions(home):
    assert core.write_peers(os.fsencode(home), [(5, 6), (7, 8)]) == OK
    body = b"QLPI" + struct.pack("<IIQQQQ", 1, 2, 5, 6, 7, 8)
    expected = struct.pack("<I", google_crc32c.value(body)) + body
    assert (home / "peers").read_bytes() == expected
    assert mode_of(home / "peers") == 0o600


def test_a_longer_leftover_does_no_harm(home):
    (home / "peers.tmp").write_bytes(b"left by a crash" * 1000)
    assert core.write_peers(os.fsencode(home), [(5, 6)]) == OK
    assert core.read_peers(os.fsencode(home)) == (OK, {5: 6})


@pytest.mark.parametrize("call", ["write", "sync", "rename"])
def test_a_failed_replacement_keeps_the_old_ones(home, call):
    path = os.fsencode(home)
    assert core.write_peers(path, [(5, 6)]) == OK
    failed = core.write_peers(path, [(5, 7), (8, 9)], failing=(call,), error=errno.EIO)
    assert failed == ERR_IO
    assert core.read_peers(path) == (OK, {5: 6})
    assert core.write_peers(path, [(5, 7), (8, 9)]) == OK
    assert core.read_peers(path) == (OK, {5: 7, 8: 9})


@pytest.mark.parametrize(
    "known",
    [[(0, 1)], [(1, 0)], [(1, 2), (1, 3)], [(n, 1) for n in range(1, 66)]],
    ids=["node 0", "incarnation 0", "twice the same", "too many"],
)
def test_unusable_peers_are_refused(home, known):
    assert core.write_peers(os.fsencode(home), known) == ERR_USAGE
    assert not (home / "peers").exists()


def test_every_flipped_byte_of_peers_is_found(home):
    path = os.fsencode(home)
    assert core.write_peers(path, [(5, 6), (7, 8), (9, 10)]) == OK
    good = (home / "peers").read_bytes()
    for place in range(len(good)):
        (home / "peers").write_bytes(good[:place] + bytes([good[place] ^ 0x01]) + good[place + 1 :])
        assert core.read_peers(path) == (ERR_CORRUPT, {}), place
    for size in [*range(len(good)), len(good) + 16, 100_000]:
        (home / "peers").write_bytes(good[:size].ljust(size, b"\0"))
        expected = (OK, {5: 6, 7: 8, 9: 10}) if size == len(good) else (ERR_CORRUPT, {})
        assert core.read_peers(path) == expected, size


@pytest.mark.parametrize(
    "body",
    [
        b"QLPX" + struct.pack("<IIQQ", 1, 1, 5, 6),
        b"QLPI" + struct.pack("<IIQQ", 2, 1, 5, 6),
        b"QLPI" + struct.pack("<IIQQ", 1, 2, 5, 6),
        b"QLPI" + struct.pack("<IIQQ", 1, 0, 5, 6),
        b"QLPI" + struct.pack("<IIQQ", 1, 1, 0, 6),
        b"QLPI" + struct.pack("<IIQQQQ", 1, 2, 5, 6, 5, 7),
        b"QLPI" + struct.pack("<II", 1, 2**32 - 1),
    ],
)
def test_a_right_checksum_is_not_enough_for_peers(home, body):
    (home / "peers").write_bytes(struct.pack("<I", google_crc32c.value(body)) + body)
    assert core.read_peers(os.fsencode(home)) == (ERR_CORRUPT, {})
