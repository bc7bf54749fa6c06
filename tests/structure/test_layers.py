"""What the layers may know of each other, read from the `cimport` lines (ARCHITECTURE.md)."""

import re
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[2] / "core" / "quorumlog" / "_core"

# Besides itself, a layer may import from these.  Protocols and storage don't know each other's
# workings: what they share are batches.
MAY_IMPORT = {
    "base": set(),
    "storage": {"base"},
    "engine": {"base", "storage"},
    "protocols": {"base", "engine", "storage"},
    "runtime": {"base", "storage", "engine"},
    "simulation": {"base", "storage", "engine"},
    "bridge": {"base", "storage", "engine", "protocols", "runtime", "simulation"},
}
# Of storage, the layers above the log's own know the batch; only those that do I/O know more.
STORAGE_FOR = {"engine": {"batch"}, "protocols": {"batch"}}

SOURCES = sorted(p for pattern in ("*.pyx", "*.pxd") for p in CORE.rglob(pattern))


def cimports(path: Path) -> set[tuple[str, str]]:
    """(layer, module) of each of our own modules that a source cimports, or imports."""
    found = set()
    for line in path.read_text().splitlines():
        if match := re.match(r"\s*(?:from|cimport|import)\s+quorumlog\._core\.(\w+)\.(\w+)", line):
            found.add((match[1], match[2]))
    return found


def test_there_are_sources_in_layers() -> None:
    assert SOURCES
    assert {p.relative_to(CORE).parts[0] for p in SOURCES if p.parent != CORE} <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(CORE)))
def test_imports_point_downwards(path: Path) -> None:
    if path.parent == CORE:
        return
    layer = path.relative_to(CORE).parts[0]
    wrong = {(other, module) for other, module in cimports(path)
             if other != layer and other not in MAY_IMPORT[layer]}
    wrong |= {(other, module) for other, module in cimports(path)
              if other == "storage" and module not in STORAGE_FOR.get(layer, {module})}
    assert not wrong


def test_no_relative_or_wildcard_cimports_hide_what_a_module_knows() -> None:
    hidden = [f"{path.relative_to(CORE)}:{number}: {line}"
              for path in SOURCES for number, line in enumerate(path.read_text().splitlines(), 1)
              if re.match(r"\s*from\s+\.|\s*from\s+quorumlog\S*\s+c?import\s+\*", line)]
    assert not hidden


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(CORE)))
def test_nothing_below_the_bridge_can_take_the_gil(path: Path) -> None:
    if path.relative_to(CORE).parts[0] == "bridge":
        return
    for number, line in enumerate(path.read_text().splitlines(), 1):
        code = line.split("#")[0]
        python = re.search(r"\bwith gil\b|^\s*(def|cpdef|class|cdef class)\s", code)
        assert not python, (number, line)
        # A function of ours that may raise, or says nothing of it, checks for exceptions.
        if re.match(r"\s*cdef\s[^=]*\)[^=]*\bnogil\b", code):
            assert "noexcept" in code, (number, line)
