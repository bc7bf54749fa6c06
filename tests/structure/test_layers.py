"""Imports point downwards only, and below the bridge nothing touches Python (DESIGN 3).

    base <- storage <- engine <- protocols <- runtime | simulation <- bridge

Read from the `cimport` lines, so that it also holds for what the compiler would let pass.
"""

import re
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[2] / "core" / "quorumlog" / "_core"
SOURCES = sorted(p for suffix in ("*.pyx", "*.pxd", "*.pxi") for p in CORE.rglob(suffix))
LEVEL = {
    "base": 0,
    "storage": 1,
    "engine": 2,
    "protocols": 3,
    "runtime": 4,
    "simulation": 4,
    "bridge": 5,
}
FROM = re.compile(r"^\s*from\s+(\S+)\s+cimport\b", re.MULTILINE)
PLAIN = re.compile(r"^\s*cimport\s+(.+)$", re.MULTILINE)
INCLUDE = re.compile(r"^\s*include\s", re.MULTILINE)
PYTHON_IMPORT = re.compile(r"^\s*(?:import\s|from\s+\S+\s+import\b)", re.MULTILINE)


def without_text(source: str) -> str:
    """Without comments, docstrings and literals: what is left is code."""
    source = re.sub(r"(?s)\"\"\".*?\"\"\"|'''.*?'''", '""', source)
    source = re.sub(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", '""', source)
    return re.sub(r"#.*", "", source)


def cimports(code: str) -> list[str]:
    plain = [part for m in PLAIN.finditer(code) for part in m[1].split(",")]
    return [m[1] for m in FROM.finditer(code)] + [part.split(" as ")[0].strip() for part in plain]


def wrong_import(layer: str, name: str) -> str | None:
    """Why a module of `layer` may not cimport `name`, or None."""
    if name.startswith("."):
        return "a relative cimport"
    if not name.startswith("quorumlog"):
        return None
    target = name.removeprefix("quorumlog._core.").split(".")[0]
    if target not in LEVEL:
        return "not a layer"
    if layer == target:
        return None
    if LEVEL[target] >= LEVEL[layer]:
        return "not downwards"
    if layer in ("engine", "protocols") and target == "storage":
        return None if name == "quorumlog._core.storage.batch" else "not a batch, of storage"
    if layer in ("runtime", "simulation") and target == "protocols":
        return "only the bridge names a protocol"
    return None


def touches_python(source: str) -> list[str]:
    code = without_text(source)
    found = [
        said
        for pattern, said in [
            (r"\bwith\s+gil\b", "with gil"),
            (r"\braise\b", "raise"),
            (r"^\s*(?:try|except|finally)\b.*:\s*$", "try"),
            (r"\bprint\s*\(", "print"),
            (r"\)\s*nogil\b", "nogil without noexcept"),
            (r"\)\s*(?:except\b[^:\n]*)\bnogil\b", "an exception value"),
        ]
        if re.search(pattern, code, re.MULTILINE)
    ]
    if PYTHON_IMPORT.search(code):
        found.append("import")
    if re.search(r"\bPy(GILState|Eval|Err|Object|Mem)_?\w*", source):
        found.append("the Python C API")
    return found


def mutable_statics(source: str) -> list[str]:
    """A static variable in a header is one copy for each extension module (DESIGN 14)."""
    lines = re.findall(r"^\s*static\s+(?!inline\b|const\b)([^;={(]*)([;={(])", source, re.MULTILINE)
    return [name.strip() for name, end in lines if end != "("]


def layer_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0]


def name_of(path: Path) -> str:
    return str(path.relative_to(CORE))


BODIES = [p for p in SOURCES if p.parent != CORE]
BELOW_BRIDGE = [p for p in BODIES if layer_of(p) != "bridge"]


def test_the_layers_are_those_of_the_design():
    assert {layer_of(p) for p in BODIES} <= set(LEVEL)
    assert {"base", "storage", "engine"} <= {layer_of(p) for p in BODIES}
    assert all(p.name == "__init__.pxd" for p in SOURCES if p.parent == CORE)


@pytest.mark.parametrize("path", BODIES, ids=name_of)
def test_imports_point_downwards(path):
    code = without_text(path.read_text())
    wrong = [(n, why) for n in cimports(code) if (why := wrong_import(layer_of(path), n))]
    assert wrong == []
    assert not INCLUDE.search(code)
    assert not re.search(r"\bc?import\s+\*", code), "hides what the module knows"


@pytest.mark.parametrize("path", BELOW_BRIDGE, ids=name_of)
def test_nothing_below_the_bridge_touches_python(path):
    assert touches_python(path.read_text()) == []


@pytest.mark.parametrize("path", [p for p in SOURCES if p.suffix == ".pxd"], ids=name_of)
def test_headers_hold_no_state(path):
    assert mutable_statics(path.read_text()) == []


# --- The readers above see what they look for ---------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "name", "allowed"),
    [
        ("storage", "quorumlog._core.base.bytes", True),
        ("base", "quorumlog._core.storage.batch", False),
        ("storage", "quorumlog._core.engine.log", False),
        ("storage", "quorumlog._core.protocols.raft", False),
        ("protocols", "quorumlog._core.storage.batch", True),
        ("protocols", "quorumlog._core.storage.wal", False),
        ("engine", "quorumlog._core.storage.batch", True),
        ("engine", "quorumlog._core.storage.wal", False),
        ("protocols", "quorumlog._core.engine.quorum", True),
        ("runtime", "quorumlog._core.protocols.raft", False),
        ("simulation", "quorumlog._core.protocols.raft", False),
        ("simulation", "quorumlog._core.runtime.writer", False),
        ("runtime", "quorumlog._core.simulation.disk", False),
        ("runtime", "quorumlog._core.storage.wal", True),
        ("runtime", ".writer", False),
        ("bridge", "quorumlog._core.protocols.raft", True),
        ("runtime", "quorumlog.node", False),
        ("runtime", "libc.string", True),
    ],
)
def test_the_rule_for_imports(layer, name, allowed):
    assert (wrong_import(layer, name) is None) == allowed


def test_the_reader_of_imports():
    code = "from a.b cimport (\n    c,\n)\n  cimport d.e as f, g\nfrom h import i\n"
    assert cimports(code) == ["a.b", "d.e", "g"]


@pytest.mark.parametrize(
    "source",
    [
        "with gil:\n",
        "    raise ValueError\n",
        "cdef void f() nogil:\n",
        "cdef int f() except -1 nogil:\n",
        "    try:\n",
        "import os\n",
        "from os import path\n",
        '    """\n    PyGILState_Ensure();\n    """\n',
    ],
)
def test_the_reader_of_python(source):
    assert touches_python("x = 1\n" + source)


def test_the_reader_of_python_reads_no_comments():
    source = '"""with gil, we raise"""\n# raise\ncdef int f() noexcept nogil:\n    g(b"raise")\n'
    assert touches_python(source) == []


def test_the_reader_of_statics():
    source = "static int a;\nstatic int b[2] = {1};\nstatic const int c = 1;\n"
    assert mutable_statics(source + "static inline int d(void) { }\nstatic void e(int x) {") == [
        "int a",
        "int b[2]",
    ]
