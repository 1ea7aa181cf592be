"""Waiting until the local database has come to a place in the log."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def wait_applied(connection: BaseDatabaseWrapper, log_index: int, timeout_s: float) -> bool:
    """Wait until the local database has been applied up to `log_index`; False at the deadline."""
    deadline = time.monotonic() + timeout_s
    pause = 0.000_5
    while _applied_index(connection) < log_index:
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True


def _applied_index(connection: BaseDatabaseWrapper) -> float:
    # On the raw connection: nobody's query log or execute wrapper is concerned.
    connection.ensure_connection()
    try:
        rows = connection.connection.execute(
            "SELECT applied_index FROM raftdjango_state"
        ).fetchall()
    except sqlite3.Error:
        return float("inf")  # Not a replicated database (yet): nothing to wait for.
    return rows[0][0] if rows else float("inf")
