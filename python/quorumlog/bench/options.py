"""What a benchmark run is asked to do, checked once, where it enters."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

Mode = Literal["batch", "list", "submit", "single", "aio"]
Shape = Literal["processes", "threads"]
Machine = Literal["none", "python"]
Loop = Literal["asyncio", "uvloop"]

MODES: tuple[Mode, ...] = ("batch", "list", "submit", "single", "aio")
# Modes that hand over a batch a call.
BATCH_MODES: tuple[Mode, ...] = ("batch", "list")
# Modes that `--rate` can drive (`open_loop.py`).
OPEN_LOOP_MODES: tuple[Mode, ...] = ("batch", "submit", "single")
LOOPS: tuple[Loop, ...] = ("asyncio", "uvloop")
SHAPES: tuple[Shape, ...] = ("processes", "threads")
MACHINES: tuple[Machine, ...] = ("none", "python")

BODY_BYTES_MAX = 16 << 20
ENTRIES_MAX = 1 << 20
WINDOW_BYTES = 4 << 20
SUBMIT_WINDOW = 16384
AIO_TASKS_ALIVE = 10_000


class BadOptions(ValueError):
    """An option has a value the benchmark can't run with; the text says which and what would do."""


@dataclass(frozen=True)
class LoadOptions:
    """What the leader's process is told of the load.  All fields are plain values: they travel as JSON."""

    mode: Mode
    payload: int
    batch: int
    seconds: float
    window: int = 0
    rate: float = 0.0
    loop: Loop = "asyncio"
    tasks: int = 10_000
    callers: int = 1

    @property
    def entries_per_call(self) -> int:
        return self.batch if self.mode in BATCH_MODES else 1

    def window_of(self) -> int:
        """Submissions in flight: as asked, or what fills 4 MiB (4 to 1,024 batches); 0: no window."""
        if self.mode == "single":
            return 1
        if self.rate:
            return 0
        if self.mode == "aio":
            return max(1, self.tasks) * max(1, self.window) if self.tasks else self.window or AIO_TASKS_ALIVE
        if self.window:
            return self.window
        if self.mode == "submit":
            return SUBMIT_WINDOW
        return max(4, min(1024, WINDOW_BYTES // (self.payload * self.batch)))

    @property
    def warmup_seconds(self) -> float:
        return min(0.5, self.seconds / 10)


@dataclass(frozen=True)
class BenchOptions:
    """One benchmark of a cluster.

    `batch` is the number of entries of one `submit_many` (mode batch); `window` how many
    submissions are kept in flight (0: a default by mode, see `LoadOptions.window_of`).  With a `rate`
    the load is an open loop of so many entries a second (`open_loop.py`), and no window bounds it.
    `loop` and `tasks` are of mode aio (`aio_load.py`).  `fresh` False: the steady state, in which the
    nodes fill their segments while they are loaded.
    """

    protocol: str = "raft"
    nodes: int = 3
    payload: int = 16
    batch: int = 4096
    seconds: float = 5.0
    mode: Mode = "batch"
    machine: Machine = "none"
    shape: Shape = "processes"
    window: int = 0
    rate: float = 0.0
    writer: str = "auto"
    directory: Path | None = field(default=None)
    fresh: bool = True
    loop: Loop = "asyncio"
    tasks: int = 10_000
    callers: int = 1

    def __post_init__(self) -> None:
        self._require(self.protocol == "raft", f"--protocol {self.protocol}: only raft is there")
        self._require(1 <= self.nodes <= 9, f"--nodes {self.nodes}: 1 to 9")
        self._require(1 <= self.payload <= 1 << 20, f"--payload {self.payload}: 1 to 1048576 bytes")
        self._require(1 <= self.batch <= ENTRIES_MAX, f"--batch {self.batch}: 1 to {ENTRIES_MAX}")
        body = self.payload * self.batch + 4 * (self.batch + 2) + 8
        self._require(
            self.mode not in BATCH_MODES or body <= BODY_BYTES_MAX,
            f"--payload {self.payload} × --batch {self.batch} makes a body of {body} bytes;"
            f" a batch holds at most {BODY_BYTES_MAX}",
        )
        self._require(0 < self.seconds <= 3600, f"--seconds {self.seconds}: above 0, at most 3600")
        self._require(self.mode in MODES, f"--mode {self.mode}: one of {', '.join(MODES)}")
        self._require(self.shape in SHAPES, f"shape {self.shape}: one of {', '.join(SHAPES)}")
        self._require(self.machine in MACHINES, f"--machine {self.machine}: one of {', '.join(MACHINES)}")
        self._require(0 <= self.window <= 1 << 20, f"--window {self.window}: 0 to 1048576")
        self._require(0 <= self.rate <= 1e9, f"--rate {self.rate}: 0 (a closed loop) to 1e9 entries a second")
        self._require(
            not self.rate or self.mode in OPEN_LOOP_MODES,
            f"--rate makes an open loop of --mode {', '.join(OPEN_LOOP_MODES)}, not of {self.mode}",
        )
        self._require(
            not (self.rate and self.window), "--rate and --window: an open loop has no window, choose one"
        )
        self._require(self.loop in LOOPS, f"--loop {self.loop}: one of {', '.join(LOOPS)}")
        self._require(0 <= self.tasks <= 1 << 20, f"--tasks {self.tasks}: 0 to 1048576")
        self._require(1 <= self.callers <= 64, f"--callers {self.callers}: 1 to 64")
        self._require(
            self.callers == 1 or (self.mode == "submit" and not self.rate),
            "--callers is for --mode submit without a rate: the others load from one thread",
        )
        self._require(
            self.writer in ("auto", "thread", "io_uring"),
            f"--writer {self.writer}: auto, thread or io_uring",
        )

    @staticmethod
    def _require(condition: bool, otherwise: str) -> None:
        if not condition:
            raise BadOptions(otherwise)

    @property
    def fresh_segments(self) -> int:
        """Segments of 64 MiB that each node fills before the clock starts, as the limit program does:
        what a GiB a second takes for the whole run, within 4 GiB; few where each
        entry waits for its own sync."""
        if not self.fresh:
            return 2
        if self.mode == "single":
            return 4
        return max(4, min(64, int(self.seconds * 16)))

    @property
    def load(self) -> LoadOptions:
        """The part of it that the loading process needs: the fields of the same names."""
        return LoadOptions(**{one.name: getattr(self, one.name) for one in fields(LoadOptions)})

    @property
    def entries_per_batch(self) -> int:
        return self.load.entries_per_call
