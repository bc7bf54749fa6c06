"""A world of compiled transports and Python sockets, closed after each test."""

from collections.abc import Iterator

import pytest
from fake_peer import World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()
