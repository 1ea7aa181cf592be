"""What the replicated backend does otherwise in SQL than Django's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.backends.sqlite3 import operations as sqlite3
from django.db.models import Field

if TYPE_CHECKING:
    from raftdjango.backends.sqlite3.base import DatabaseWrapper


class DatabaseOperations(sqlite3.DatabaseOperations):
    """Django's operations for SQLite, for a replicated connection."""

    compiler_module = "raftdjango.backends.sqlite3.compiler"
    connection: DatabaseWrapper

    def for_update_sql(self, *args: Any, **kwargs: Any) -> str:
        """Nothing: SQLite has no such clause.  The compiler notes the rows instead."""
        return ""

    def bulk_batch_size(self, fields: Any, objs: Any) -> int:
        """Rows in one INSERT, whose keys are parameters too."""
        size = super().bulk_batch_size(fields, objs)
        if not fields or not all(isinstance(field, Field) for field in fields):
            return size
        opts = fields[0].model._meta
        key = opts.auto_field
        if key is None or key in fields or len(fields) != _inserted_count(opts):
            return size
        if len(fields) == 1 and self.connection.Database.sqlite_version_info >= (3, 32):
            # Then it may as well be asked for `IN`; twice as many parameters are still allowed.
            return size
        return min(size, super().bulk_batch_size([*fields, key], objs))

    def execute_sql_flush(self, sql_list: Any) -> None:
        """Empty tables as one entry of statements: nobody wants every row deleted to travel."""
        with self.connection.replication.as_statements():
            super().execute_sql_flush(sql_list)
        if any("sqlite_sequence" in sql for sql in sql_list):
            self.connection.replication.allocator.reset()


def _inserted_count(opts: Any) -> int:
    """How many columns an INSERT of this model has when the database chooses the key."""
    fields = [field for field in opts.concrete_fields if not field.generated]
    return len(fields) - 1
