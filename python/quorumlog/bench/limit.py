"""Compiles and runs the limit program (`limit.c`): what this machine could do at best.

Three variants of writing the log are run one after the other; the best of them is the limit of that
run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

Variant = Literal["thread", "direct", "uring"]
VARIANTS: tuple[Variant, ...] = ("thread", "direct", "uring")
SOURCES = ("limit.c", "limit_node.h", "limit_disk.h", "limit_crc32c.h")
FLAGS = ("-O2", "-std=gnu11", "-pthread")


class LimitUnavailable(RuntimeError):
    """The limit program can't be compiled or run here; the text says why and what to do."""


def compiler() -> list[str]:
    """The C compiler's command: `$CC`, or the first of cc, gcc and clang that is there."""
    named = shlex.split(os.environ.get("CC", ""))
    for command in [named] if named else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    raise LimitUnavailable(
        f"no C compiler: looked for {' '.join(named) or 'cc, gcc and clang'}. The limit program"
        " is C; install one (Debian: apt install gcc) or name it in CC."
    )


def cache_directory() -> Path:
    """A folder that only we can write to and that outlives this process, if there is one."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    for path in (home / "quorumlog", Path(tempfile.gettempdir()) / f"quorumlog-{os.getuid()}"):
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = path.lstat()
        except OSError:
            continue
        # Somebody else could have made it, or could put another program in our program's place.
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        if ours and not status.st_mode & 0o022 and os.access(path, os.W_OK):
            return path
    return Path(tempfile.mkdtemp(prefix="quorumlog-limit-"))


def compiled() -> Path:
    """The program, compiled when its sources or the compiler's name have changed."""
    here = Path(__file__).resolve().parent
    command = compiler()
    digest = hashlib.sha256(repr((command, FLAGS)).encode())
    for name in SOURCES:
        source = here / name
        if not source.is_file():
            raise LimitUnavailable(f"{source} is missing: the installation is incomplete")
        digest.update(source.read_bytes())
    program = cache_directory() / f"limit-{digest.hexdigest()[:16]}"
    if program.is_file() and os.access(program, os.X_OK):
        return program
    # Made under a name of its own and renamed: two runs at once don't see half a file.
    making = program.with_name(f"{program.name}.{os.getpid()}")
    ran = subprocess.run(
        [*command, *FLAGS, str(here / SOURCES[0]), "-o", str(making)],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise LimitUnavailable(f"{command[0]} failed on {here / SOURCES[0]}:\n{ran.stderr.strip()}")
    making.replace(program)
    return program


@contextmanager
def log_directory(directory: Path | None) -> Iterator[Path]:
    """Where the log files lie while the program runs; emptied and removed afterwards."""
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="quorumlog-limit-", dir=directory))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def run_variant(
    variant: Variant,
    *,
    nodes: int = 3,
    payload: int = 16,
    batch: int = 4096,
    seconds: float = 3.0,
    mode: Literal["batch", "single"] = "batch",
    threads: bool = False,
    file_mib: int = 0,
    directory: Path | None = None,
) -> dict[str, Any]:
    """One run of one variant; its JSON object.  `file_mib` bounds each node's file (0: 2 GiB)."""
    program = compiled()
    with log_directory(directory) as logs:
        command = [str(program), "--variant", variant, "--nodes", str(nodes), "--mode", mode]
        command += ["--payload", str(payload), "--batch", str(batch), "--seconds", str(seconds)]
        command += ["--directory", str(logs), *(["--threads"] if threads else [])]
        command += ["--file-mib", str(file_mib)] if file_mib else []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            try:
                out, err = running.communicate(timeout=seconds + 400)
            except BaseException:
                running.terminate()
                running.wait()
                raise
    if running.returncode:
        raise LimitUnavailable(
            f"variant {variant} ended with {running.returncode}: {err.strip() or out.strip()}"
        )
    result: dict[str, Any] = json.loads(out)
    return result


def run_limit(
    *,
    said: Callable[[dict[str, Any]], None] = lambda result: None,
    variants: tuple[Variant, ...] = VARIANTS,
    mode: Literal["batch", "single"] = "batch",
    **options: Any,
) -> dict[str, Any]:
    """All variants in turn.  Best is most entries a second, or one at a time the lowest p50.

    A variant this machine refuses (io_uring in many containers) is reported as such and left out.
    """
    results: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    for variant in variants:
        try:
            result = run_variant(variant, mode=mode, **options)
        except LimitUnavailable as why:
            if not results and variant == variants[-1]:
                raise
            refused[variant] = str(why)
            continue
        results.append(result)
        said(result)
    if mode == "single":
        best = min(results, key=lambda result: float(result["latency_us"]["p50"]))
    else:
        best = max(results, key=lambda result: float(result["entries_per_second"]))
    return {**best, "variants": results, "refused": refused}
