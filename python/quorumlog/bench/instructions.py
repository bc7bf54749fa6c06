"""Instructions of the hot paths, counted by callgrind, beside what was kept of an earlier revision.

Times on a shared machine scatter by ten per cent and more; the number of instructions that a
deterministic path executes does not scatter at all, so a path that grew is seen in one run. It says
nothing of caches, branches or system calls: for time, measure time.

Figures are kept by what decides over them: the compiler, its flags, the processor's extensions that
code is chosen by, Python, and the C library. Valgrind shows no AVX-512 to the program, whatever the
processor has: where a dispatch would choose that, its next best way is what is counted.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quorumlog._core.bridge.profile import build_flags, build_profile
from quorumlog.bench.instruction_paths import TURNS
from quorumlog.bench.machine_facts import cpu_flags

GROWTH_MAX = 0.10
TIMEOUT_SECONDS = 600
MEASURED = "ql_measured"
# What the C library and our own dispatch choose by.
CHOOSING_FLAGS = frozenset({"sse4_2", "pclmulqdq", "avx2", "bmi2", "erms", "crc32", "pmull"})


class InstructionsUnavailable(RuntimeError):
    """They can't be counted here; the text says why and what to do."""


@dataclass(frozen=True)
class Count:
    """Of one turn of a path, and how many entries a turn has."""

    instructions: float
    entries: int


def key() -> dict[str, Any]:
    """What the figures depend on beside the sources."""
    bench = importlib.import_module("quorumlog._core.bridge.testing_bench")
    compiler, target = bench.built_with()
    return {
        "compiler": compiler,
        "profile": build_profile(),
        "flags": build_flags(),
        "target": target,
        "cpu": sorted(CHOOSING_FLAGS & cpu_flags()),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "libc": " ".join(platform.libc_ver()),
    }


def count_instructions() -> dict[str, Count]:
    """Runs all paths once under callgrind; seconds."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise InstructionsUnavailable("valgrind is not installed (Debian: apt install valgrind)")
    with tempfile.TemporaryDirectory(prefix="quorumlog-callgrind-") as made:
        # One name for all runs below a directory of its own: the length of a path is in the count.
        work = Path(made)
        (work / "log").mkdir()
        command = [
            *_fixed_addresses(),
            *(valgrind, "--tool=callgrind", f"--toggle-collect={MEASURED}", f"--dump-after={MEASURED}"),
            *("--callgrind-out-file=out", sys.executable, "-m", "quorumlog.bench.instruction_paths", "log"),
        ]
        ran = subprocess.run(
            command,
            cwd=work,
            env=_bare_environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        if ran.returncode:
            raise InstructionsUnavailable(f"under callgrind: {ran.stderr.strip()[-2000:]}")
        return read_counts(ran.stdout, work)


def _fixed_addresses() -> list[str]:
    """Alignment decides over a few instructions of a copy: without randomised addresses it is the same each time."""
    command = ["setarch", "-R"]
    if shutil.which(command[0]) and subprocess.call([*command, "true"], stderr=subprocess.DEVNULL) == 0:
        return command
    return []


def _bare_environment() -> dict[str, str]:
    """The environment lies on the stack, and hashes order dictionaries."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def read_counts(said: str, directory: Path) -> dict[str, Count]:
    """The child's lines, and the dump that callgrind wrote behind each of them."""
    counts: dict[str, Count] = {}
    for number, line in enumerate(said.splitlines(), 1):
        entries, name = line.split("\t")
        totals = re.findall(r"^totals: (\d+)$", (directory / f"out.{number}").read_text(), re.MULTILINE)
        if len(totals) != 1 or not int(totals[0]):
            raise InstructionsUnavailable(f"callgrind counted nothing in {name!r}: is `{MEASURED}` a symbol?")
        counts[name] = Count(int(totals[0]) / TURNS, int(entries))
    return counts


# What is kept ---------------------------------------------------------------------------------------------


def load_kept(file: Path) -> list[dict[str, Any]]:
    """[{"key", "paths": {name: {"instructions", "entries"}}}], one for each key."""
    kept: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    return kept


def find_kept(kept: Iterable[dict[str, Any]], wanted: dict[str, Any]) -> dict[str, Count] | None:
    for one in kept:
        if one["key"] == wanted:
            return {name: Count(**count) for name, count in one["paths"].items()}
    return None


def keep(file: Path, used: dict[str, Any], counts: dict[str, Count]) -> None:
    """Replaces what was kept under the same key."""
    others = [one for one in load_kept(file) if one["key"] != used]
    mine = {"key": used, "paths": {name: asdict(count) for name, count in counts.items()}}
    file.write_text(json.dumps([*others, mine], indent=1) + "\n")


def growth(before: Count | None, now: Count) -> float | None:
    """As a fraction of what it was; None where there is nothing to compare with."""
    return None if before is None else now.instructions / before.instructions - 1


def grown(before: dict[str, Count], now: dict[str, Count]) -> list[str]:
    """Paths that grew by more than GROWTH_MAX."""
    found = []
    for name, count in now.items():
        by = growth(before.get(name), count)
        if by is not None and by > GROWTH_MAX:
            found.append(name)
    return found
