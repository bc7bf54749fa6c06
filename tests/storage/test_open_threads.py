"""Logs that several threads open at once keep their errors apart."""

import threading
from pathlib import Path

import pytest

import quorumlog as ql

THREADS, ROUNDS = 8, 25


def break_one(tmp_path: Path, number: int) -> Path:
    """A log that can't be opened: its only segment is a link to itself."""
    home = tmp_path / f"log-{number}"
    home.mkdir()
    (home / "segment-0000000000000001.qlog").symlink_to("segment-0000000000000001.qlog")
    return home


def test_each_thread_hears_of_its_own_directory(tmp_path: Path) -> None:
    homes = [break_one(tmp_path, number) for number in range(THREADS)]
    heard: list[list[str]] = [[] for _ in homes]
    together = threading.Barrier(THREADS)

    def open_often(number: int) -> None:
        for _ in range(ROUNDS):
            together.wait()
            with pytest.raises(ql.QuorumlogError) as caught:
                ql.Log.open(homes[number])
            heard[number].append(str(caught.value))

    threads = [threading.Thread(target=open_often, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for home, said in zip(homes, heard, strict=True):
        assert len(said) == ROUNDS
        for text in said:
            assert text.count(str(home)) == 2, text          # who asked, and what the log found
