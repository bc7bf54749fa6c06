"""The lines that the demo replicates: of a file, or of quorumlog's own sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import quorumlog

SUFFIXES = {".py", ".pyi", ".pyx", ".pxd", ".c", ".h", ".md", ".toml"}
CHUNK_BYTES_MAX = 1 << 20
LINE_BYTES_MAX = 8 << 20
CHUNKS_LEAST = 16


class BadInput(ValueError):
    """The input has nothing to replicate, or a line no batch could hold."""


@dataclass(frozen=True)
class Chunk:
    """Lines proposed together, as one batch; their ids are `first_id` and those that follow."""

    first_id: int
    lines: list[bytes]


def own_sources() -> list[Path]:
    """The checkout's sources when we run from one, the installed package's otherwise."""
    package = Path(quorumlog.__file__).resolve().parent
    checkout = package.parents[1]
    roots = [package]
    if (checkout / "core" / "quorumlog").is_dir():
        roots = [checkout / name for name in ("core", "python", "tests", "docs", "bench")]
    return sorted(
        path
        for root in roots
        for path in root.rglob("*")
        if path.suffix in SUFFIXES and path.is_file() and "__pycache__" not in path.parts
    )


def read_lines(path: Path | None) -> list[bytes]:
    paths = own_sources() if path is None else [path]
    lines = [line for one in paths for line in one.read_bytes().splitlines()]
    if not lines:
        raise BadInput(f"{path} has no lines" if path else "no sources of quorumlog were found")
    longest = max(map(len, lines))
    if longest > LINE_BYTES_MAX:
        raise BadInput(f"a line of {longest} bytes; the demo takes lines of up to {LINE_BYTES_MAX}")
    return lines


def chunked(lines: list[bytes], batch: int) -> list[Chunk]:
    """Chunks of up to `batch` lines and 1 MiB, and enough of them that there is a middle to kill
    in.
    """
    batch = max(1, min(batch, len(lines) // CHUNKS_LEAST))
    chunks: list[Chunk] = []
    start = size = 0
    for number, line in enumerate(lines):
        if number > start and (number - start == batch or size + len(line) > CHUNK_BYTES_MAX):
            chunks.append(Chunk(start, lines[start:number]))
            start, size = number, 0
        size += len(line)
    chunks.append(Chunk(start, lines[start:]))
    return chunks
