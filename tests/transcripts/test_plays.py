"""Every play, line by line: see stage.py for the language."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage import perform


def test_play(play_file: Path, pytestconfig: pytest.Config) -> None:
    text = play_file.read_text()
    happened = perform(text)
    if pytestconfig.getoption("--rewrite"):
        play_file.write_text(happened)
    else:
        assert happened == text
