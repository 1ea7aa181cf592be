"""The logs that have to behave alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from raftcore.storage import LogStore, MemoryLog
from tests.storage.logs import open_log


@pytest.fixture(params=["memory", "disk", "disk opened again"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogStore]:
    store: LogStore = MemoryLog() if request.param == "memory" else open_log(tmp_path)
    if request.param == "disk opened again":
        store = Reopening(tmp_path, store)  # type: ignore[assignment]
    yield store
    store.close()


class Reopening:
    """Closes and opens its log after every sync, so that reads see what was really stored."""

    def __init__(self, folder: Path, log: LogStore) -> None:
        self._folder = folder
        self._log = log

    def sync(self) -> None:
        self._log.sync()
        self._log.close()
        self._log = open_log(self._folder)

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)
