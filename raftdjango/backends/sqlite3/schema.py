"""The schema editor: what it executes travels as statements, in order, in one entry per transaction."""

from __future__ import annotations

from typing import Any

from django.db.backends.sqlite3 import schema


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    """Django's, replicated."""

    def execute(self, sql: Any, params: Any = ()) -> None:
        """Execute a statement of the editor's, its copying of rows included, as a statement."""
        if self.collect_sql:
            super().execute(sql, params)
            return
        with self.connection.replication.as_statements():
            super().execute(sql, params)
