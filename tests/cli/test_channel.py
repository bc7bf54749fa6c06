"""The control channel of node processes: answers, errors, ends."""

from __future__ import annotations

import sys
from concurrent.futures import Future
from pathlib import Path

import pytest

from quorumlog.processes.channel import RemoteError, Worker, WorkerGone, from_text, to_text

CHILD = """
import os, threading
from quorumlog.processes.channel import serve

class Refused(Exception):
    definite = True
    retryable = True

gate = threading.Event()

def refuse():
    raise Refused("not now")

def chatter():
    print("this must not get between the answers", flush=True)
    os.write(1, b"nor this")
    return "said"

serve({
    "echo": lambda text: text,
    "refuse": refuse,
    "chatter": chatter,
    "wait": lambda: gate.wait(60),
    "open": lambda: gate.set(),
})
"""


@pytest.fixture
def worker(tmp_path: Path):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    one = Worker([sys.executable, str(script)], tmp_path / "child.log")
    yield one
    one.kill()


def test_bytes_of_every_value_come_back(worker: Worker) -> None:
    data = bytes(range(256)) * 3
    assert from_text(worker.call("echo", text=to_text(data))) == data


def test_answers_may_overtake_each_other(worker: Worker) -> None:
    waiting: Future[bool] = worker.start_call("wait")
    assert worker.call("echo", text="first") == "first"
    assert not waiting.done()
    worker.call("open")
    assert waiting.result(30) is True


def test_an_exception_comes_over_with_what_it_says_of_the_outcome(worker: Worker) -> None:
    with pytest.raises(RemoteError, match="Refused: not now") as caught:
        worker.call("refuse")
    assert (caught.value.kind, caught.value.definite, caught.value.retryable) == (
        "Refused",
        True,
        True,
    )
    with pytest.raises(RemoteError, match="KeyError"):
        worker.call("no such thing")


def test_prints_of_the_child_go_to_its_log_and_not_between_the_answers(worker: Worker) -> None:
    assert worker.call("chatter") == "said"
    assert worker.call("echo", text="still in step") == "still in step"
    assert worker.log.read_text() == "this must not get between the answers\nnor this"


def test_a_killed_child_fails_what_was_asked_and_all_that_follows(worker: Worker) -> None:
    waiting = worker.start_call("wait")
    worker.kill()
    with pytest.raises(WorkerGone, match="has ended"):
        waiting.result(30)
    assert not worker.alive
    with pytest.raises(WorkerGone, match="has ended"):
        worker.call("echo", text="")


def test_the_end_of_its_input_ends_the_child_cleanly(worker: Worker) -> None:
    assert worker.call("echo", text="") == ""
    assert worker.close() == 0
    assert not worker.alive
