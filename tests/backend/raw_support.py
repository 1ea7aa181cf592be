"""What the tests of SQL that leaves keys to SQLite share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from tests.backend.blind_models import Place

Leases = Callable[[Callable[[int, int], range]], list[tuple[int, int]]]

TABLE = "backend_place"
ONE = f"INSERT INTO {TABLE} (name) VALUES (%s)"
QUERY = (
    f"INSERT INTO {TABLE} (name) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
    " WHERE i < %s) SELECT %s || i FROM n"
)


@pytest.fixture
def lend(monkeypatch: pytest.MonkeyPatch) -> Leases:
    """Has a node lease as the test says; what it was asked for: (count, above)."""

    def stand_in(lease: Callable[[int, int], range]) -> list[tuple[int, int]]:
        if not connection.in_atomic_block:
            execute(f"DELETE FROM sqlite_sequence WHERE name = '{TABLE}'")
        asked: list[tuple[int, int]] = []

        def lease_keys(
            self: Any, table: str, count: int, *, timeout_s: float, after: int = 0, above: int = 0
        ) -> range:
            asked.append((count, above))
            return lease(count, above)

        monkeypatch.setattr(type(connection.replication.client), "lease_keys", lease_keys)
        return asked

    return stand_in


def execute(sql: str, *params: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.lastrowid


def keys() -> list[int]:
    return list(Place.objects.order_by("pk").values_list("pk", flat=True))


def fresh_block(at: int, gap: int = 1000) -> Callable[[int, int], range]:
    """Each lease lies a gap behind the one before."""
    state = {"next": at}

    def lease(count: int, above: int) -> range:
        first = max(state["next"], above + 1)
        state["next"] = first + count + gap
        return range(first, first + count)

    return lease


# Keys of others lie right behind the largest key in use, from 1,000 to 4,999.
MINE = range(5000, 10**6)
