"""Options of nodes and groups.  The defaults are meant to be left alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quorumlog.errors import UsageError

__all__ = ["NodeOptions", "RaftOptions"]

MIB = 1 << 20
WRITERS = {"auto": 0, "thread": 1, "io_uring": 2}


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} is {value}; it must be from {low} to {high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """How a node uses its disk, memory and connections.

    Attributes:
        segment_bytes: size of the log's files; a multiple of 1 MiB.
        spare_segments: files kept zero-written ahead of use; under load only two, the others when it is quieter.
        sync_group_bytes: how much one write gathers at most.
        writer: who carries out writes: `io_uring` from the reactor, a `thread`, or `auto`.
        direct: writes bypass the page cache (O_DIRECT) where the file system can.
        scrub_bytes_per_s: how fast the log's sealed files are read again in the background and compared with their
            checksums; what is bad is repaired from peers.  0: not at all.
        memory_bytes: bound of the reactor's batches (received, sealed, read back).
        send_queue_bytes: bound of what waits for one peer's socket.
        allow_plaintext: allow addresses off loopback although connections are not encrypted.
    """

    segment_bytes: int = 64 * MIB
    spare_segments: int = 2
    sync_group_bytes: int = MIB
    writer: Literal["auto", "thread", "io_uring"] = "auto"
    direct: bool = True
    scrub_bytes_per_s: int = 4 * MIB
    memory_bytes: int = 192 * MIB
    send_queue_bytes: int = 32 * MIB
    allow_plaintext: bool = False

    def __post_init__(self) -> None:
        _within("segment_bytes", self.segment_bytes, MIB, 2048 * MIB)
        if self.segment_bytes % MIB:
            raise UsageError(f"segment_bytes is {self.segment_bytes}; it must be a multiple of 1 MiB")
        _within("spare_segments", self.spare_segments, 1, 64)
        _within("sync_group_bytes", self.sync_group_bytes, 4096, 64 * MIB)
        _within("scrub_bytes_per_s", self.scrub_bytes_per_s, 0, 1 << 40)
        _within("memory_bytes", self.memory_bytes, 32 * MIB, 1 << 40)
        _within("send_queue_bytes", self.send_queue_bytes, MIB, 1 << 40)
        if self.writer not in WRITERS:
            raise UsageError(f"writer is {self.writer!r}; it must be one of {', '.join(WRITERS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftOptions:
    """How a Raft group behaves.

    Attributes:
        election_timeout: seconds without a leader before a node campaigns; drawn from [1, 2) times this.
        heartbeat: seconds between a leader's messages when it has nothing else to say.
        forward: hand proposals made on a follower to the leader, or refuse them with `NotLeader`.
        in_flight_bytes: bound of what was submitted here and is not settled yet; `submit` refuses above it.
        append_bytes: how much one append message carries at most.
        uncommitted_bytes: bound of a leader's uncommitted batches.
        snapshot_log_bytes: how much of the log may lie behind the newest snapshot before a new one is made (a leader
            waits for half as much again: followers first); 0: only by `Group.snapshot`.  Without effect where the state
            machine defines no `snapshot` and `restore`: its log is kept whole.
        retained_log_bytes: how much of the log before a snapshot stays, so that a peer a little behind needs no
            snapshot.
        snapshot_bytes_per_s: how fast a snapshot is sent to a peer at most; 0: as fast as it goes.
        priority: 0 to 255; a leader hands over to a connected voter of a higher one as soon as that has caught up.  It
            delays no election: any voter may lead meanwhile.
        disk_patience: a leader whose disk has flushed nothing for so many seconds, while something waits for it,
            gives up leadership.
        clock_drift: how far the rate of any node's monotonic clock may be off, as a fraction (0.01: one per cent).
            Giving it switches reads by lease on (`consistency=LEASE`), which are linearizable only while clocks keep
            this bound; give the same on all nodes.  None, the default: no leases, and no argument rests on clocks.
            With leases a lost leader is followed by another only an election timeout after it was last heard.
    """

    election_timeout: float = 0.5
    heartbeat: float = 0.1
    forward: bool = True
    in_flight_bytes: int = 64 * MIB
    append_bytes: int = MIB
    uncommitted_bytes: int = 128 * MIB
    snapshot_log_bytes: int = 256 * MIB
    retained_log_bytes: int = 64 * MIB
    snapshot_bytes_per_s: int = 64 * MIB
    priority: int = 0
    disk_patience: float = 2.0
    clock_drift: float | None = None

    def __post_init__(self) -> None:
        _within("election_timeout", self.election_timeout, 0.02, 3600)
        _within("heartbeat", self.heartbeat, 0.001, self.election_timeout / 2)
        _within("in_flight_bytes", self.in_flight_bytes, 1 << 16, 1 << 40)
        _within("append_bytes", self.append_bytes, 4096, 16 * MIB)
        _within("uncommitted_bytes", self.uncommitted_bytes, 1 << 16, 1 << 40)
        _within("snapshot_log_bytes", self.snapshot_log_bytes, 0, 1 << 50)
        _within("retained_log_bytes", self.retained_log_bytes, 0, 1 << 50)
        _within("snapshot_bytes_per_s", self.snapshot_bytes_per_s, 0, 1 << 40)
        _within("priority", self.priority, 0, 255)
        _within("disk_patience", self.disk_patience, self.election_timeout, 3600)
        if self.clock_drift is not None:
            _within("clock_drift", self.clock_drift, 0, 0.5)
