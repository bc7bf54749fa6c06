"""The C interface for native state machines, pinned, so that what is compiled goes on working.

Three witnesses must agree: the table below, the C compiler, and cffi, which
reads the header as foreign hosts do.
"""

import re
import shutil
import subprocess
from pathlib import Path

import cffi
import pytest

INCLUDE = Path(__file__).resolve().parents[2] / "core" / "include"
HEADER = INCLUDE / "quorumlog" / "statemachine.h"

# Size, then the offset of each field, on a 64-bit machine.  Structs may only grow at their end.
LAYOUT = {
    "ql_batch": (
        48,
        {
            "struct_size": 0,
            "count": 4,
            "first": 8,
            "term": 16,
            "leader_time_ns": 24,
            "offsets": 32,
            "payload": 40,
        },
    ),
    "ql_results": (40, {"struct_size": 0, "reserved": 4, "self": 8, "fixed": 16, "put": 24, "explain": 32}),
    "ql_sink": (24, {"struct_size": 0, "reserved": 4, "self": 8, "write": 16}),
    "ql_source": (24, {"struct_size": 0, "reserved": 4, "self": 8, "read": 16}),
    "ql_machine_v1": (
        72,
        {
            "abi_version": 0,
            "struct_size": 4,
            "state": 8,
            "apply_batch": 16,
            "query": 24,
            "freeze_view": 32,
            "write_view": 40,
            "release_view": 48,
            "restore": 56,
            "destroy": 64,
        },
    ),
}

# A machine that sums little-endian int64 commands and answers each with the sum so far.
SUM_MACHINE = """
#include <quorumlog/statemachine.h>
#include <string.h>
static int apply_batch(void *state, const ql_batch *batch, ql_results *results) {
    int64_t *sum = state;
    int64_t *answers = results ? results->fixed(results->self, sizeof(int64_t)) : 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        int64_t value;
        if (batch->offsets[i + 1] - batch->offsets[i] != sizeof value) continue;
        memcpy(&value, batch->payload + batch->offsets[i], sizeof value);
        *sum += value;
        if (answers) answers[i] = *sum;
    }
    return 0;
}
static int64_t sum;
ql_machine_v1 sum_machine = {
    .abi_version = QL_MACHINE_ABI_V1, .struct_size = sizeof(ql_machine_v1), .state = &sum,
    .apply_batch = apply_batch,
};
"""


def declarations() -> str:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    text = re.sub(r"#ifdef __cplusplus\n.*?#endif\n", "", text, flags=re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


@pytest.fixture(scope="module")
def ffi() -> cffi.FFI:
    made = cffi.FFI()
    made.cdef(declarations() + "\nextern ql_machine_v1 sum_machine;\n")
    return made


def compiled(language: str, source: str, target: Path, *flags: str) -> None:
    compiler = shutil.which({"c": "cc", "c++": "c++"}[language])
    if compiler is None:
        pytest.skip(f"no compiler for {language} here")
    subprocess.run(
        [
            compiler,
            "-x",
            language,
            "-I",
            str(INCLUDE),
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            *flags,
            "-",
            "-o",
            str(target),
        ],
        input=source,
        text=True,
        check=True,
    )


def test_every_struct_of_the_header_is_pinned() -> None:
    assert set(re.findall(r"^\} (ql_\w+);", HEADER.read_text(), re.MULTILINE)) == set(LAYOUT)


@pytest.mark.parametrize("name", LAYOUT)
def test_cffi_sees_the_pinned_layout(ffi: cffi.FFI, name: str) -> None:
    size, offsets = LAYOUT[name]
    assert ffi.sizeof(name) == size
    assert {field: info.offset for field, info in ffi.typeof(name).fields} == offsets


@pytest.mark.parametrize(
    ("language", "flags"), [("c", ["-std=c99"]), ("c", ["-std=c17"]), ("c++", ["-std=c++11"])]
)
def test_the_compiler_sees_the_pinned_layout(language: str, flags: list[str], tmp_path: Path) -> None:
    # A false assertion is an array of negative size, which C99 and C++11 both refuse.
    claims = [f"sizeof({name}) == {size}" for name, (size, _) in LAYOUT.items()]
    claims += [
        f"offsetof({name}, {field}) == {offset}"
        for name, (_, offsets) in LAYOUT.items()
        for field, offset in offsets.items()
    ]
    source = "#include <stddef.h>\n#include <quorumlog/statemachine.h>\n" + "\n".join(
        f"typedef char claim_{i}[({claim}) ? 1 : -1];" for i, claim in enumerate(claims)
    )
    compiled(language, source + "\n", tmp_path / "claims.o", *flags, "-c")


def test_a_machine_written_against_the_header_runs_through_its_table(ffi: cffi.FFI, tmp_path: Path) -> None:
    library = tmp_path / "sum.so"
    compiled("c", SUM_MACHINE, library, "-std=c11", "-shared", "-fPIC")
    machine = ffi.addressof(ffi.dlopen(str(library)), "sum_machine")
    assert (machine.abi_version, machine.struct_size) == (1, LAYOUT["ql_machine_v1"][0])
    assert machine.query == ffi.NULL

    payload = ffi.new("int64_t[3]", [5, -7, 100])
    offsets = ffi.new("uint32_t[4]", [0, 8, 16, 24])
    batch = ffi.new(
        "ql_batch *",
        {
            "struct_size": ffi.sizeof("ql_batch"),
            "count": 3,
            "first": 1,
            "term": 1,
            "offsets": offsets,
            "payload": ffi.cast("uint8_t *", payload),
        },
    )
    answers = ffi.new("int64_t[3]")
    asked = []

    @ffi.callback("void *(void *, uint32_t)")
    def fixed(_self: object, width_bytes: int) -> object:
        asked.append(width_bytes)
        return ffi.cast("void *", answers)

    results = ffi.new("ql_results *", {"struct_size": ffi.sizeof("ql_results"), "fixed": fixed})
    assert machine.apply_batch(machine.state, batch, results) == 0
    assert list(answers) == [5, -2, 98]
    assert asked == [8]
    assert machine.apply_batch(machine.state, batch, ffi.NULL) == 0
    assert ffi.cast("int64_t *", machine.state)[0] == 196
