"""A directory for a log, and a log driven step by step."""

import pytest

from quorumlog._core.bridge.testing_storage import StepLog


@pytest.fixture
def open_log(tmp_path):
    opened = []

    def open_one(**options):
        log = StepLog(str(tmp_path), **options)
        opened.append(log)
        return log

    yield open_one
    for log in opened:
        log.abandon()
