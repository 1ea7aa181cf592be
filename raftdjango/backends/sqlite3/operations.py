"""What the replicated backend does otherwise in SQL than Django's own."""

from __future__ import annotations

import sqlite3 as driver
from contextlib import closing
from typing import TYPE_CHECKING, Any

from django.db.backends.sqlite3 import operations as sqlite3

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raftdjango.backends.sqlite3.base import DatabaseWrapper


class DatabaseOperations(sqlite3.DatabaseOperations):
    """Django's operations for SQLite, for a replicated connection."""

    compiler_module = "raftdjango.backends.sqlite3.compiler"
    connection: DatabaseWrapper

    def for_update_sql(self, *args: Any, **kwargs: Any) -> str:
        """Nothing: SQLite has no such clause.  The compiler notes the rows instead."""
        return ""

    def bulk_batch_size(self, fields: Any, objs: Any) -> int:
        """Rows in one INSERT, each with one parameter more than Django reckons with: its key."""
        size: int = super().bulk_batch_size(fields, objs)
        self.connection.ensure_connection()
        parameters_max: int = self.connection.connection.getlimit(
            driver.SQLITE_LIMIT_VARIABLE_NUMBER
        )
        return min(size, parameters_max // (len(fields) + 1))

    def _quote_params_for_last_executed_query(self, params: Iterable[Any]) -> tuple[str, ...]:
        """On a connection of its own, for logs and `connection.queries`.

        On this one the watchdog of the write lock might interrupt it, and its error would take the
        place of what became of the logged statement.
        """
        with closing(driver.connect(":memory:")) as scratch:
            return tuple(scratch.execute("SELECT QUOTE(?)", (p,)).fetchone()[0] for p in params)

    def execute_sql_flush(self, sql_list: Any) -> None:
        """Empty tables as one entry of statements: nobody wants every row deleted to travel."""
        with self.connection.replication.as_statements():
            super().execute_sql_flush(sql_list)
