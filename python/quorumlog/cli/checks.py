"""What `quorumlog doctor` examines: facts about machine, disk and build, each with a verdict."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

import quorumlog
from quorumlog._core.bridge.profile import build_profile

Verdict = Literal["good", "note", "warning", "bad"]

ROUNDS = 100
SECONDS = 1.0
SLOW_SYNC_US = 2000
BLOCK_BYTES = 4096
IO_URING_SETUP = 425  # the same number on x86-64 and on arm64
IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
OVER_THE_NET = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"}


@dataclass(frozen=True)
class Finding:
    name: str
    found: str
    verdict: Verdict
    why: str = ""


def examine(directory: Path) -> list[Finding]:
    return [
        _python(),
        _build(),
        _kernel(),
        _processor(),
        _io_uring(),
        _file_system(directory),
        _space(directory),
        *_sync_latencies(directory),
        _open_files(),
    ]


def _python() -> Finding:
    free = not getattr(sys, "_is_gil_enabled", lambda: True)()
    found = f"{platform.python_implementation()} {platform.python_version()}, NumPy {np.__version__}"
    return Finding("python", found + (", free-threaded" if free else ""), "good")


def _build() -> Finding:
    profile = build_profile()
    found = f"quorumlog {quorumlog.__version__}, profile {profile}"
    if profile == "release":
        return Finding("build", found, "good")
    return Finding("build", found, "warning", f"a {profile} build is slow; its figures mean nothing")


def _kernel() -> Finding:
    found = f"{platform.system()} {platform.release()} ({platform.machine()})"
    if platform.system() != "Linux":
        return Finding("kernel", found, "bad", "quorumlog needs Linux (epoll, eventfd)")
    return Finding("kernel", found, "good")


def _processor() -> Finding:
    flags: set[str] = set()
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags |= set(value.split())
        elif key.strip() == "model name":
            model = value.strip()
    found = f"{os.cpu_count()} × {model}"
    usable = len(os.sched_getaffinity(0))
    if usable != os.cpu_count():
        found += f" ({usable} usable)"
    if flags & {"sse4_2", "crc32"}:
        return Finding("processor", found + ", CRC32C instruction", "good")
    return Finding("processor", found, "warning", "no CRC32C instruction: checksums come from tables")


def _io_uring() -> Finding:
    params = (ctypes.c_uint8 * 120)()
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(IO_URING_SETUP, 2, ctypes.byref(params))
    if descriptor >= 0:
        os.close(descriptor)
        return Finding("io_uring", "allowed", "good")
    why = os.strerror(ctypes.get_errno())
    switch = Path("/proc/sys/kernel/io_uring_disabled")
    if switch.exists() and switch.read_text().strip() != "0":
        why += f"; kernel.io_uring_disabled = {switch.read_text().strip()}"
    return Finding("io_uring", f"refused: {why}", "note", "a writer thread is used instead")


def mount_of(directory: Path) -> tuple[str, str, str]:
    """(file system type, device, options) of what `directory` lies on."""
    device = os.stat(directory).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    found = ("unknown", "unknown", "")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if fields[2] == wanted:
            kind, source, *_ = right.split()
            found = (kind, source, fields[5])
    return found


def _write_cache(directory: Path) -> str:
    device = os.stat(directory).st_dev
    node = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for candidate in (
        node / "queue" / "write_cache",
        node.resolve().parent / "queue" / "write_cache",
    ):
        if candidate.is_file():
            return candidate.read_text().strip()
    return "unknown"


def _file_system(directory: Path) -> Finding:
    kind, device, options = mount_of(directory)
    found = f"{kind} on {device} ({options}), write cache: {_write_cache(directory)}"
    if kind in IN_MEMORY:
        return Finding("file system", found, "bad", "lies in memory: nothing survives a power cut")
    if kind in OVER_THE_NET:
        return Finding(
            "file system",
            found,
            "warning",
            "a network file system: locks and syncs are what its server makes of them",
        )
    return Finding("file system", found, "good")


def _space(directory: Path) -> Finding:
    free = shutil.disk_usage(directory).free
    found = f"{free / 2**30:.1f} GiB free"
    if free < 1 << 30:
        return Finding("space", found, "warning", "less than 1 GiB: few segments fit")
    return Finding("space", found, "good")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1024:
        return Finding("open files", f"{soft} (hard {hard})", "warning", "raise it: ulimit -n 1024")
    return Finding("open files", f"{soft} (hard {hard})", "good")


def _timed(name: str, once: Callable[[int], None]) -> Finding:
    """Median and 99th percentile of up to ROUNDS calls within about SECONDS."""
    took: list[float] = []
    end = time.perf_counter() + SECONDS
    for round_number in range(ROUNDS):
        before = time.perf_counter()
        once(round_number)
        took.append((time.perf_counter() - before) * 1e6)
        if time.perf_counter() > end:
            break
    middle, high = np.percentile(took, [50, 99])
    found = f"p50 {middle:,.0f} µs, p99 {high:,.0f} µs ({len(took)} rounds)"
    if middle > SLOW_SYNC_US:
        return Finding(name, found, "note", "slow for a log, or busy with something else just now")
    return Finding(name, found, "good")


def _sync_latencies(directory: Path) -> list[Finding]:
    """One 4 KiB block made durable, in the three ways a log could do it."""
    block = mmap.mmap(-1, BLOCK_BYTES)  # page-aligned, as O_DIRECT wants it
    block[:] = b"q" * BLOCK_BYTES
    findings = []
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".quorumlog-doctor-") as file:
            descriptor = file.fileno()

            def append(round_number: int) -> None:
                os.pwrite(descriptor, block, round_number * BLOCK_BYTES)
                os.fdatasync(descriptor)

            findings.append(_timed("append + fdatasync", append))
            os.pwrite(descriptor, bytes(ROUNDS * BLOCK_BYTES), 0)
            os.fsync(descriptor)
            findings.append(_timed("overwrite + fdatasync", append))
            findings.append(_direct(Path(file.name), block))
    except OSError as error:
        findings.append(Finding("sync", f"{error}", "bad", f"{directory} can't be written and synced"))
    return findings


def _direct(path: Path, block: mmap.mmap) -> Finding:
    name = "overwrite, O_DIRECT|O_DSYNC"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_DSYNC)
    except OSError as error:
        return Finding(name, f"refused: {error.strerror}", "note", "small writes go through the page cache")
    try:
        return _timed(name, lambda number: _write(descriptor, block, number * BLOCK_BYTES))
    finally:
        os.close(descriptor)


def _write(descriptor: int, block: mmap.mmap, offset: int) -> None:
    os.pwrite(descriptor, block, offset)
