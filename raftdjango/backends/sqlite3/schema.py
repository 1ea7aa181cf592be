"""The schema editor: DDL and its own copying travel as statements, in order with captured rows.

One entry per transaction, as `migrate` makes them.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db.backends.sqlite3 import schema

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

    from raftdjango.backends.sqlite3.base import DatabaseWrapper


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    """Django's, replicated."""

    connection: DatabaseWrapper

    def _remake_table(self, *args: Any, **kwargs: Any) -> None:
        """As Django's; the rows it copies are no news to any node, so the copying travels."""
        with self._copying():
            super()._remake_table(*args, **kwargs)  # type: ignore[misc]

    def _alter_many_to_many(self, *args: Any, **kwargs: Any) -> None:
        """As Django's, likewise."""
        with self._copying():
            super()._alter_many_to_many(*args, **kwargs)  # type: ignore[misc]

    def _copying(self) -> AbstractContextManager[None]:
        return nullcontext() if self.collect_sql else self.connection.replication.as_statements()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """As Django's, which after a failure of its own leaves the block open and foreign keys off.

        Its commit can fail here where a local one would not, and an open block holds the write lock.
        """
        try:
            super().__exit__(exc_type, exc_value, traceback)
        except BaseException as error:
            if self.atomic_migration and self.atomic in self.connection.atomic_blocks:
                self.atomic.__exit__(type(error), error, error.__traceback__)
            if not self.connection.in_atomic_block:
                self.connection.enable_constraint_checking()
            raise
