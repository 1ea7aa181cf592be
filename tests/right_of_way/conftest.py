"""The file of one group, and processes that have it open as well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from raftdjango.right_of_way.lock_file import RightOfWay
from tests.right_of_way.processes import Process, Start


@pytest.fixture
def right(tmp_path: Path) -> RightOfWay:
    return RightOfWay.open(tmp_path / "group", lock_yield_ms=50)


@pytest.fixture
def start(right: RightOfWay) -> Iterator[Start]:
    started: list[Process] = []

    def start(script: str) -> Process:
        started.append(Process(right.path.parent, script))
        return started[-1]

    yield start
    for process in started:
        process.kill()
