"""A disk that fails (here: a limit on the size of files) is final, and nothing lies about it."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

import quorumlog as ql

SCRIPT = """
import resource, sys, threading
import quorumlog as ql

class Echo(ql.StateMachine):
    def apply(self, batch):
        return list(batch)
    def query(self, question):
        return question

options = ql.NodeOptions(segment_bytes=1 << 20, spare_segments=1, writer=sys.argv[2])
node = ql.Node.open(sys.argv[1], options=options)
group, bare = node.raft("main", Echo()), node.raft("bare")
assert group.propose(b"kept").result == b"kept"
bare.propose(b"kept")
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
    group.propose(b"lost", timeout=20)
except ql.Unknown as error:
    assert isinstance(error.__cause__, ql.StorageError), error.__cause__
else:
    raise AssertionError("acknowledged without a disk")
for call in (lambda: group.submit(b"x"), lambda: bare.propose(b"x"), lambda: group.read(1),
             lambda: node.raft("new")):
    try:
        call()
    except ql.StorageError:
        pass
    else:
        raise AssertionError("taken without a disk")
assert group.read("applied before", consistency=ql.STALE) == "applied before"
assert node.status().failed
before = node.status().turns
threading.Event().wait(0.6)              # past every timer that was set
assert node.status().turns - before < 500, "the reactor spins"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
node.close()
with ql.Node.open(sys.argv[1], options=options) as node:
    entries = []
    class Keeper(ql.StateMachine):
        def apply(self, batch):
            entries.extend(batch)
    group = node.raft("main", Keeper())
    group.propose(b"after")
    assert entries in ([b"kept", b"after"], [b"kept", b"lost", b"after"]), entries
"""


@pytest.mark.parametrize("writer", ["thread", "auto"])
def test_after_a_failed_write_nothing_is_acknowledged(tmp_path: Path, writer: str) -> None:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=b"a token of enough bytes")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "n1"), writer],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
