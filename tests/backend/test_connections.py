"""What is said to options of a connection that SQLite has not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.backends.sqlite3.base import DatabaseWrapper as StockWrapper

from raftdjango.backends.sqlite3.base import DatabaseWrapper


def refusal(wrapper: type[StockWrapper], file: Path) -> str:
    settings: dict[str, Any] = {**connection.settings_dict, "NAME": str(file)}
    settings["OPTIONS"] = {"pool": True}
    with pytest.raises(TypeError) as caught:
        wrapper(settings, "pooled").connect()
    return str(caught.value)


def test_a_pool_is_refused_as_by_stock_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite3"
    assert "pool" in refusal(DatabaseWrapper, file)
    assert refusal(DatabaseWrapper, file) == refusal(StockWrapper, file)
