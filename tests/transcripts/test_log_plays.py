"""Every play of the log, line by line: see log_stage.py for the language."""

from __future__ import annotations

from pathlib import Path

import pytest
from log_stage import perform

PLAYS = sorted((Path(__file__).parent / "log").glob("*.txt"))


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.stem)
def test_play(play: Path, pytestconfig: pytest.Config) -> None:
    text = play.read_text()
    happened = perform(text)
    if pytestconfig.getoption("--rewrite"):
        play.write_text(happened)
    else:
        assert happened == text


def test_there_are_plays() -> None:
    assert len(PLAYS) >= 7
