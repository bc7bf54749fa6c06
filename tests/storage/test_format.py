"""docs/format.md against the compiled code: every size and offset of every table."""

import re
from pathlib import Path

import pytest

from quorumlog._core.bridge import testing_storage

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text()
ROW = re.compile(r"^\| (\d+) \| (u(?:8|16|32|64)(?:\[\d+\])?) \| (\w+) \|", re.MULTILINE)
COMPILED = testing_storage.structures()
# Where each table stands: the text right before it, and its size in bytes as the page gives it.
TABLES = {
    "placement": ("Placement header, 64 bytes", 64),
    "header": ("Header:\n", 80),
    "list": ("List entry, 40 bytes:", 40),
    "tail": ("Tail:\n", 48),
    "checkpoint group": ("Group entry, 120 bytes", 120),
    "footer": ("per record of the segment", 48),
}


def width(kind: str) -> int:
    base, _, count = kind.partition("[")
    return int(base[1:]) // 8 * (int(count[:-1]) if count else 1)


def table(after: str) -> list[tuple[int, str, str]]:
    start = PAGE.index(after)
    rows: list[tuple[int, str, str]] = []
    for line in PAGE[start:].splitlines()[1:]:
        match = ROW.match(line)
        if match:
            rows.append((int(match[1]), match[2], match[3]))
        elif rows and not line.startswith("|"):
            break
    return rows


@pytest.mark.parametrize("name", TABLES)
def test_offsets_and_sizes(name):
    after, size = TABLES[name]
    rows = table(after)
    compiled_size, offsets = COMPILED[name]
    assert compiled_size == size
    assert rows[0][0] == 0
    ends = [at + width(kind) for at, kind, _ in rows]
    assert ends[:-1] == [at for at, _, _ in rows[1:]], "the table has a gap"
    assert ends[-1] == size
    seen: dict[str, int] = {}
    for at, _, field in rows:
        key = field if field not in seen else f"{field}2"
        seen[field] = at
        assert offsets.pop(key) == at, key
    assert not offsets, "fields that the page does not name"


def test_identity_header():
    """Field by field: a batch whose fields all differ is encoded, and read back at the page's offsets."""
    rows = {field: (at, width(kind)) for at, kind, field in table("### 1.2 Identity header")}
    header, body = testing_storage.identity(1, 0x1111, 0x2222, 0x3333, [b"abc", b"defgh"])

    def field(name):
        at, size = rows[name]
        return int.from_bytes(header[at : at + size], "little")

    assert max(at + size for at, size in rows.values()) == len(header) == 80
    assert field("version") == 1
    assert field("kind") == 1
    assert (field("group"), field("term"), field("first")) == (0x1111, 0x2222, 0x3333)
    assert (field("count"), field("body_bytes")) == (2, len(body)) == (2, 24)
    google_crc32c = pytest.importorskip("google_crc32c")
    assert field("crc") == google_crc32c.value(header[4:])
    assert field("body_crc") == google_crc32c.value(body)
    assert body == bytes.fromhex("00000000 03000000 08000000 00000000") + b"abcdefgh"


def test_magics():
    for magic, number in re.findall(r"`(QL\w\w)` \((0x[0-9A-F]{8})\)", PAGE):
        assert int(number, 16).to_bytes(4, "little") == magic.encode(), magic


def test_zeros_never_validate():
    status, _, _ = testing_storage.parse(bytes(80), b"")
    assert status != 0


@pytest.mark.parametrize("position", range(80))
def test_every_flipped_bit_of_an_identity_is_seen(position):
    header, body = testing_storage.identity(1, 7, 3, 9, [b"x"])
    for bit in range(8):
        broken = bytearray(header)
        broken[position] ^= 1 << bit
        assert testing_storage.parse(bytes(broken), body)[0] != 0
    assert testing_storage.parse(header, body)[:2] == (0, 0)
