"""A peer made of Python sockets, to talk to a compiled transport on loopback and to lie to it.

Everything runs in one thread: `pump` steps the compiled nodes until a condition holds.  Time is a
counter that the test owns; only readiness of sockets is real.
"""

import errno
import itertools
import socket
from collections.abc import Callable
from typing import Any

from wire_oracle import ACCEPTOR, DIALER, Hello, proof

from quorumlog._core.bridge import testing_wire as core

TOKEN = b"t" * 32
SECOND = 10**9
MILLISECOND = 10**6
TURNS_MAX = 4000


class World:
    """Compiled nodes and the time they are told."""

    def __init__(self) -> None:
        self.now_ns = SECOND
        self.nodes: list[Any] = []
        self.sockets: list[socket.socket] = []

    def node(self, number: int, **options: Any) -> Any:
        node = core.Node(number, **options)
        self.nodes.append(node)
        return node

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        for opened in self.sockets:
            opened.close()

    def turn(self, timeout_ms: int = 0, advance_ns: int = 0) -> None:
        self.now_ns += advance_ns
        for node in self.nodes:
            node.step(self.now_ns, timeout_ms)

    def pump(self, until: Callable[[], object], advance_ns: int = 0) -> None:
        """Steps until the condition holds; the bound only ends a test that has failed."""
        for _ in range(TURNS_MAX):
            if until():
                return
            self.turn(1, advance_ns)
        seen = [node.status() for node in self.nodes]
        raise AssertionError(f"still not so after {TURNS_MAX} turns: {seen}")

    def settle(self) -> None:
        """Enough turns for everything under way on loopback to be seen."""
        for _ in range(30):
            self.turn(1)

    def connect(self, port: int, source: str = "127.0.0.1") -> socket.socket:
        made = socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        self.sockets.append(made)
        return made

    def listen(self) -> socket.socket:
        made = socket.create_server(("127.0.0.1", 0))
        made.setblocking(False)
        self.sockets.append(made)
        return made

    def accept(self, listener: socket.socket, advance_ns: int = 0) -> socket.socket:
        accepted: list[socket.socket] = []

        def arrived() -> bool:
            try:
                accepted.append(listener.accept()[0])
            except BlockingIOError:
                return False
            return True

        self.pump(arrived, advance_ns)
        accepted[0].setblocking(False)
        self.sockets.append(accepted[0])
        return accepted[0]

    def receive(self, peer: socket.socket, count: int) -> bytes:
        """Exactly so many bytes; b"" when the other end closed instead."""
        got = bytearray()
        closed = False

        def complete() -> bool:
            nonlocal closed
            try:
                piece = peer.recv(count - len(got))
                got.extend(piece)
                closed = not piece
            except BlockingIOError:
                return False
            except ConnectionResetError:
                closed = True
            return closed or len(got) == count

        self.pump(complete)
        return b"" if closed else bytes(got)

    def send(self, peer: socket.socket, data: bytes) -> None:
        view = memoryview(data)

        def gone() -> bool:
            nonlocal view
            try:
                view = view[peer.send(view) :]
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                    raise
                return True
            return not view

        self.pump(gone)

    def closed(self, peer: socket.socket) -> None:
        """Waits until the compiled side has closed; what it sent before is thrown away."""

        def ended() -> bool:
            try:
                return not peer.recv(1 << 16)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True

        self.pump(ended)


_epochs = itertools.count(1)


def dial(
    world: World,
    node: Any,
    hello: Hello,
    token: bytes = TOKEN,
    role: int = DIALER,
    source: str = "127.0.0.1",
) -> socket.socket:
    """Opens a connection to a compiled node as `hello` says; checks the acceptor's proof too."""
    peer = world.connect(node.port, source)
    world.send(peer, hello.encode())
    answer = world.receive(peer, 128)
    if not answer:
        return peer
    world.send(peer, proof(token, role, hello.encode(), answer))
    last = world.receive(peer, 48)
    if last:
        assert last == proof(token, ACCEPTOR, hello.encode(), answer)
    return peer


def dialer_hello(sender: int = 2, target: int = 1, **changes: Any) -> Hello:
    return Hello(DIALER, sender, target, **{"epoch": next(_epochs), **changes})
