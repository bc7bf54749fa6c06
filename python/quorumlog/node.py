"""A node: one data directory, one log, one listener, any number of groups."""

from __future__ import annotations

import atexit
import hashlib
import ipaddress
import math
import os
import secrets
import socket
import uuid
import warnings
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from quorumlog import leadership
from quorumlog._core.bridge import directory, groups
from quorumlog._core.bridge.node import NodeCore
from quorumlog.errors import Corrupt, UsageError
from quorumlog.group import Group
from quorumlog.machine import StateMachine
from quorumlog.names import check_name, id_of, ids_of
from quorumlog.options import WRITERS, NodeOptions, RaftOptions

__all__ = ["Node", "NodeStatus", "Recovery", "TransportStatus", "WalStatus"]

_live: weakref.WeakSet[Node] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class Recovery:
    """What opening the log found.  `detail` names file and offset of the first damage, if any."""

    boot: int
    flushed: int
    wsn_last: int
    records: int
    bytes_read: int
    corrupt_records: int
    unproved_records: int
    detail: str


@dataclass(frozen=True, slots=True)
class WalStatus:
    """The write-ahead log since it was opened.  `appended` and `flushed` are write sequence numbers."""

    syncs: int
    bytes_written: int
    appended: int
    flushed: int
    pending_bytes: int
    segments: int
    spare_segments: int


@dataclass(frozen=True, slots=True)
class TransportStatus:
    """The connections since the node was opened.

    `refused_openings`: wrong token, cluster, node, incarnation or version, or too slow.
    `refused_frames`: malformed, oversized or foreign ones; each closed its connection.
    `dropped_messages`: for peers that are not connected, full queues, groups that are not open.
    """

    sent_bytes: int
    received_bytes: int
    sent_frames: int
    received_frames: int
    refused_openings: int
    refused_frames: int
    dropped_messages: int
    connections: int


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node at one moment.

    Attributes:
        writer: who carries out the log's writes, `io_uring` or `thread`.
        failed: the disk has failed and the node no longer acknowledges anything.
        boot: number of this opening of the directory, from 1.
        turns, wakes: of the reactor's loop, and of those how often another thread had to wake it.
        held_messages: waiting for a sync before they may leave.
        used_bytes: of the reactor's batches; `pinned_bytes`: held by NumPy views in this process.
        scrubbed_bytes, scrub_passes: read by the background scrub; passes over all that was sealed.
        scrub_faults: bad batches that the scrub found.
        faults_found, faults_repaired: bad batches of the groups open here, whoever found them, and those repaired.
    """

    wal: WalStatus
    transport: TransportStatus
    writer: str
    failed: bool
    boot: int
    turns: int
    wakes: int
    held_messages: int
    used_bytes: int
    pinned_bytes: int
    scrubbed_bytes: int
    scrub_passes: int
    scrub_faults: int
    faults_found: int
    faults_repaired: int


def status_of(raw: dict[str, Any]) -> NodeStatus:
    """From the core's own form."""
    raw["wal"] = WalStatus(**raw["wal"])
    raw["transport"] = TransportStatus(**raw["transport"])
    raw["writer"] = {1: "thread", 2: "io_uring"}.get(raw["writer"], "unknown")
    return NodeStatus(**raw)


def parse_address(text: str, *, allow_plaintext: bool) -> tuple[str, int]:
    """`host:port` as (numeric host, port); off loopback only if plaintext is allowed."""
    host, colon, port_text = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not (port_text.isascii() and port_text.isdigit()) or int(port_text) > 65535 or not host:
        raise UsageError(f"address {text!r} is not host:port, like 127.0.0.1:7101 or [::1]:7101")
    try:
        numeric = str(ipaddress.ip_address(host))
    except ValueError:
        try:
            numeric = str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
        except OSError as error:
            raise UsageError(f"address {text!r}: {host!r} can't be resolved: {error}") from error
    if not ipaddress.ip_address(numeric).is_loopback and not allow_plaintext:
        raise UsageError(
            f"address {text!r} is off loopback and connections are not encrypted: use a tunnel (stunnel, "
            "WireGuard), or NodeOptions(allow_plaintext=True) on a network you trust"
        )
    return numeric, int(port_text)


def check_log_is_there(path: str) -> None:
    """A node that once met its peers and has no log now has forgotten what it acknowledged and voted.

    Raises:
        Corrupt: it must not begin anew under the identity that its peers remember.
    """
    files = os.listdir(path)
    if "peers" in files and not any(file.startswith("segment-") for file in files):
        raise Corrupt(
            f"open {path}: the node has been in touch with its peers, but its log is gone.  What it "
            "acknowledged and voted is not known, so it may not start empty under the same identity: bring "
            "its segment-*.qlog files back",
            f"{path}: no segment-*.qlog",
        )


def check_readmission(incarnation: int) -> None:
    """What `Node.create` gave a directory that was made to rejoin.

    Raises:
        UsageError: it is none.
    """
    if not (1 << 63) <= incarnation < (1 << 64):
        raise UsageError(
            f"incarnation {incarnation} is of a directory that was not made to rejoin: it would vote as if it had "
            "never promised anything.  Make it with Node.create(..., rejoin=True) or `quorumlog init --rejoin`"
        )


class Node:
    """An open node.  Make the directory once with `Node.create`, then `Node.open` it.

    Close it, or use it as a context manager; a forgotten one warns.  Methods may be called from any thread.
    """

    def __init__(self, core: NodeCore, path: str, name: str, peers: dict[int, str], listen_host: str) -> None:
        self._core = core
        self._peers = peers
        self._groups: dict[str, Group] = {}
        self._host = listen_host
        self.path = path
        self.name = name
        _live.add(self)

    @staticmethod
    def create(
        path: str | os.PathLike[str],
        name: str,
        *,
        cluster: uuid.UUID | str,
        token: bytes | str,
        rejoin: bool = False,
    ) -> int:
        """Makes a data directory with its identity, once; durable when this returns.

        Args:
            path: the directory; made with mode 0700 if it is not there.
            name: this node's name in its cluster, 1 to 63 bytes.
            cluster: the cluster's uuid, the same on all its nodes.
            token: the cluster's secret, the same on all its nodes; authenticates connections.
            rejoin: the node had a directory and lost it.  Its peers take the new one for this node only after
                `readmit` there, and it follows without a vote until the leader of each group has admitted it.

        Returns:
            The directory's incarnation, which `readmit` asks for.

        Raises:
            UsageError: the directory has an identity already.
        """
        encoded = check_name(name, "a node's name", 63)
        secret = token.encode() if isinstance(token, str) else bytes(token)
        if len(secret) < 16:
            raise UsageError("a token needs at least 16 bytes: secrets.token_bytes(32) makes one")
        number = uuid.UUID(str(cluster))
        if os.path.exists(os.path.join(os.fspath(path), "identity")):
            raise UsageError(
                f"{os.fspath(path)} is a data directory already: open it, or name another"
            )
        # The highest bit says "made to rejoin" (docs/format.md 7).
        incarnation = secrets.randbits(63) or 1
        if rejoin:
            incarnation |= 1 << 63
        directory.create(
            os.fspath(path),
            encoded,
            id_of(name),
            number.bytes,
            hashlib.sha256(secret).digest(),
            incarnation,
        )
        return incarnation

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        listen: str = "127.0.0.1:0",
        peers: Mapping[str, str] | None = None,
        options: NodeOptions | None = None,
    ) -> Self:
        """Opens a node: recovers its log, listens, and starts its threads.

        Args:
            path: a directory made by `create`.
            listen: host:port; port 0 takes a free one (see `address`).
            peers: name to host:port of the cluster's nodes; the own name may be among them.
            options: see NodeOptions.

        Raises:
            UsageError: no identity there, the directory is open elsewhere, a bad address.
            Corrupt: the log is damaged beyond what one node can decide, or gone; names file and offset.
        """
        options = options or NodeOptions()
        where = os.fspath(path)
        identity = directory.identity_of(where)
        if identity is None:
            raise UsageError(f"{where} is no data directory: make it with Node.create or `quorumlog init`")
        check_log_is_there(where)
        name = identity[0]
        host, port = parse_address(listen, allow_plaintext=options.allow_plaintext)
        others = {
            peer: parse_address(address, allow_plaintext=options.allow_plaintext)
            for peer, address in (peers or {}).items()
            if peer != name
        }
        for peer, (peer_host, peer_port) in others.items():
            if peer_port == 0:
                raise UsageError(f"peer {peer!r}: address {peer_host}:0 names no port to connect to")
        names = ids_of([name, *others], "node")
        core = NodeCore.open(
            {
                "path": where,
                "listen_host": host,
                "listen_port": port,
                "peers": [(id_of(peer), *address) for peer, address in others.items()],
                "segment_bytes": options.segment_bytes,
                "spare_segments": options.spare_segments,
                "sync_group_bytes": options.sync_group_bytes,
                "direct": options.direct,
                "scrub_bytes_per_s": options.scrub_bytes_per_s,
                "writer": WRITERS[options.writer],
                "memory_bytes": options.memory_bytes,
                "send_queue_bytes": options.send_queue_bytes,
                "seed": secrets.randbits(64),
                "names": names,
            }
        )
        core.name = name
        return cls(core, where, name, names, host)

    def raft(
        self,
        name: str,
        machine: StateMachine | None = None,
        *,
        voters: Iterable[str] | None = None,
        options: RaftOptions | None = None,
    ) -> Group:
        """Opens a Raft group on this node; every voter opens it under the same name.

        Args:
            name: of the group, 1 to 255 bytes.
            machine: what applies its entries, from the first one on; None for a bare replicated log.
            voters: names of its voters, this node among them; by default all nodes of the cluster.
            options: see RaftOptions.

        Raises:
            Corrupt: entries that others may rely on are damaged here.
            GroupDropped: the group was dropped, and its name is not used again.
        """
        options = options or RaftOptions()
        encoded = check_name(name, "a group's name", 255)
        if name in self._groups and not self._groups[name].dropped:
            raise UsageError(f"group {name!r} is open on this node already")
        members = list(self._peers.values()) if voters is None else list(voters)
        unknown = [member for member in members if id_of(member) not in self._peers]
        if unknown or self.name not in members or len(set(members)) != len(members):
            raise UsageError(
                f"voters {members} of group {name!r} must be distinct nodes of"
                f" {sorted(self._peers.values())}, "
                f"{self.name!r} among them"
            )
        if machine is not None and not callable(getattr(machine, "apply", None)):
            raise UsageError(f"{machine!r} is no state machine: it has no apply(batch)")
        core = groups.open_raft(
            self._core,
            id_of(name),
            encoded,
            [id_of(member) for member in members],
            machine,
            {
                "election_timeout_ns": int(options.election_timeout * 1e9),
                "heartbeat_ns": int(options.heartbeat * 1e9),
                "forward": options.forward,
                "intake_bytes": options.in_flight_bytes,
                "append_bytes": options.append_bytes,
                "uncommitted_bytes": options.uncommitted_bytes,
                "snapshot_log_bytes": options.snapshot_log_bytes,
                "retained_log_bytes": options.retained_log_bytes,
                "snapshot_bytes_per_s": options.snapshot_bytes_per_s,
                "leases": options.clock_drift is not None,
                "clock_drift_ppm": math.ceil((options.clock_drift or 0) * 1e6),
                "session": 1 << 63 | secrets.randbits(63),  # those of clients are indexes of the log
                "seed": secrets.randbits(64),
                "priority": options.priority,
                "disk_patience_ns": int(options.disk_patience * 1e9),
            },
        )
        group = self._groups[name] = Group(self, name, core)
        return group

    def scrub(self) -> None:
        """Begins a new pass of the background scrub now, at its set rate; returns at once.

        `status().scrub_passes` rises when it is through.  Without effect if `scrub_bytes_per_s` is 0.
        """
        self._core.scrub()

    def readmit(self, name: str, incarnation: int, timeout: float = 5.0) -> None:
        """Lets a node that lost its directory come back with a new one; durable here when this returns.

        Call it on every other node (or `quorumlog readmit` on the directory of one that is not running), with what
        `Node.create(..., rejoin=True)` returned there.  Only for a node whose former directory is gone for good:
        the two must never run both.

        Args:
            name: of the lost node, one of this node's peers.
            incarnation: of its new directory.

        Raises:
            UsageError: no such peer, or the directory was not made with `rejoin`.
        """
        check_readmission(incarnation)
        if name == self.name or id_of(name) not in self._peers:
            raise UsageError(f"readmit: {name!r} is no peer of {self.name!r}")
        self._core.readmit(id_of(name), incarnation, timeout)

    @property
    def address(self) -> str:
        """host:port it listens on."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._core.port}"

    @property
    def groups(self) -> Mapping[str, Group]:
        """The groups open on this node, by name."""
        return {name: group for name, group in self._groups.items() if self.closed or not group.dropped}

    @property
    def recovery(self) -> Recovery:
        """What opening the log found."""
        return Recovery(**self._core.recovery())

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._core.closed

    def name_of(self, node: int) -> str | None:
        """The name of a node id; None for nobody."""
        return self._peers.get(node) if node else None

    def status(self, timeout: float = 5.0) -> NodeStatus:
        """Counters of the log, the connections and the reactor."""
        return status_of(self._core.status(timeout))

    def close(self, *, hand_over: float = 0.0) -> None:
        """Stops the node; idempotent.  Unsettled proposals get `Unknown`, or fail if they never left.

        Any thread, and a signal handler, may call it; it waits for the `apply` that is running.  Called
        by a state machine itself it returns at once, and the rest happens when its `apply` has returned.

        Args:
            hand_over: at most so many seconds are spent on handing over the leadership of groups that this node
                leads, so that nobody has to wait for an election; a few milliseconds where somebody can take over.
        """
        if hand_over > 0 and not self._core.closed:
            leadership.hand_over(list(self._groups.values()), hand_over)
        self._core.close()
        _live.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is not None and not core.closed:
            warnings.warn(f"node {self.name!r} was never closed", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def __repr__(self) -> str:
        return f"<Node {self.name!r} at {self.path!r}{' (closed)' if self.closed else ''}>"


@atexit.register
def _close_all() -> None:
    # Before the interpreter goes: the threads must not outlive what they refer to.
    for node in list(_live):
        node.close()
