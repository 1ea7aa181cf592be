"""The replicated SQLite backend: Django's own, with commits that go through the log.

The application's connection never commits.  A block's local transaction is captured, rolled back and
proposed; `commit()` returns when the applier has made it here.
"""

from __future__ import annotations

from pathlib import Path
from sqlite3 import OperationalError as DriverError
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.db.backends.sqlite3 import base as sqlite3
from django.db.backends.utils import debug_transaction

from raftdjango.backends.sqlite3 import forking
from raftdjango.backends.sqlite3.chunks import (
    ChunkedCursor,
    ChunkPool,
    ReadOnlyConnection,
    SpillingCursor,
)
from raftdjango.backends.sqlite3.client import DatabaseClient
from raftdjango.backends.sqlite3.creation import DatabaseCreation
from raftdjango.backends.sqlite3.cursor import ReplicatedCursor
from raftdjango.backends.sqlite3.features import DatabaseFeatures
from raftdjango.backends.sqlite3.operations import DatabaseOperations
from raftdjango.backends.sqlite3.replication import Replication
from raftdjango.backends.sqlite3.schema import DatabaseSchemaEditor
from raftdjango.backends.sqlite3.transactions.locked import LockedConnection
from raftdjango.client import check_installed
from raftdjango.conf import missing_folder


class ReplicatedDatabaseWrapperMixin:
    """What makes Django's SQLite wrapper, or one derived from it, a replicated one."""

    replication: Replication
    _needs_rollback = False
    _asked_to_roll_back = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._chunk_pool = ChunkPool()
        self.replication = Replication(self)  # type: ignore[arg-type]
        super().__init__(*args, **kwargs)
        forking.notice(self)

    # -- connecting -----------------------------------------------------------------------------

    def get_connection_params(self) -> dict[str, Any]:
        """As Django has them, without what concerns replication."""
        params: dict[str, Any] = super().get_connection_params()  # type: ignore[misc]
        params.pop("raft", None)
        check_installed(self.alias)  # type: ignore[attr-defined]
        if self.is_in_memory_db():  # type: ignore[attr-defined]
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['NAME'] must be a file: its node applies "  # type: ignore[attr-defined]
                "what other machines write to it."
            )
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> LockedConnection:
        """Connect, and put the connection under guard."""
        params = {**conn_params, "factory": LockedConnection}
        try:
            connection: LockedConnection = super().get_new_connection(params)  # type: ignore[misc]
        except DriverError as error:
            # SQLite says no more than that it cannot open the file.
            missing = missing_folder(self.alias, Path(params["database"]).absolute())  # type: ignore[attr-defined]
            if missing:
                raise OperationalError(missing) from error
            raise
        self.replication.attach(connection)
        return connection

    def create_cursor(self, name: str | None = None) -> ReplicatedCursor:
        """A cursor whose writes are replicated."""
        return self._replicated_cursor(ReplicatedCursor)

    def _replicated_cursor(self, factory: type[ReplicatedCursor]) -> ReplicatedCursor:
        cursor = self.connection.cursor(factory=factory)  # type: ignore[attr-defined]
        cursor.statements = self.replication.statements
        return cursor  # type: ignore[no-any-return]

    def chunked_cursor(self) -> Any:
        """A cursor for `iterator()`, which neither pins the connection's snapshot nor buffers."""
        self.close_if_health_check_failed()  # type: ignore[attr-defined]
        self.ensure_connection()  # type: ignore[attr-defined]
        with self.wrap_database_errors:  # type: ignore[attr-defined]
            if not self.autocommit:  # type: ignore[attr-defined]
                cursor: Any = self._replicated_cursor(SpillingCursor)
            else:
                self.replication.freshness.before_statement()
                cursor = self._own_connection_cursor()
            return self._prepare_cursor(cursor)  # type: ignore[attr-defined]

    def _own_connection_cursor(self) -> ChunkedCursor:
        connection = self._chunk_pool.take()
        if connection is None:
            params = {**self.get_connection_params(), "factory": ReadOnlyConnection}
            connection = super().get_new_connection(params)  # type: ignore[misc]
            connection.forbid_writes()
        cursor: ChunkedCursor = connection.cursor(factory=ChunkedCursor)
        cursor.pool = self._chunk_pool
        return cursor

    def _close(self) -> None:
        self.replication.detach()
        self._chunk_pool.close()
        super()._close()  # type: ignore[misc]

    # -- transactions ---------------------------------------------------------------------------

    def _set_autocommit(self, autocommit: bool) -> None:  # noqa: FBT001 - Django's signature
        """The driver stays in autocommit always; transactions are begun in so many words."""
        if autocommit:
            # As stock SQLite does; nothing is open when `atomic` comes here.
            with self.wrap_database_errors:  # type: ignore[attr-defined]
                self.replication.commit()

    def _start_transaction_under_autocommit(self) -> None:
        self.replication.beginning = True
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        finally:
            self.replication.beginning = False

    def _commit(self) -> None:
        if self.connection is not None:  # type: ignore[attr-defined]
            with debug_transaction(self, "COMMIT"), self.wrap_database_errors:  # type: ignore[attr-defined]
                self.replication.commit()

    def _rollback(self) -> None:
        if self.connection is not None:  # type: ignore[attr-defined]
            with debug_transaction(self, "ROLLBACK"), self.wrap_database_errors:  # type: ignore[attr-defined]
                self.replication.roll_back()

    @property
    def needs_rollback(self) -> bool:
        """Whether the block can only be rolled back.

        A block that was lost says no unless it was told so in so many words, so that its end is a
        commit, which raises.  Otherwise Django would roll back without a word, and code that had
        caught the conflict would take the block for committed.
        """
        lost = self.replication.doomed is not None
        return self._needs_rollback and (self._asked_to_roll_back or not lost)

    @needs_rollback.setter
    def needs_rollback(self, value: bool) -> None:
        self._needs_rollback = value
        self._asked_to_roll_back = False

    def set_rollback(self, rollback: bool) -> None:  # noqa: FBT001 - Django's signature
        """Somebody wants the block rolled back, lost or not."""
        super().set_rollback(rollback)  # type: ignore[misc]
        self._asked_to_roll_back = rollback

    def check_constraints(self, table_names: Any = None) -> None:
        """As Django does; a `TestCase` calls this at its end, when nothing may be left unproposed."""
        self.replication.nested.settle()
        super().check_constraints(table_names)  # type: ignore[misc]


class DatabaseWrapper(ReplicatedDatabaseWrapperMixin, sqlite3.DatabaseWrapper):
    """`django.db.backends.sqlite3`, replicated."""

    display_name = "SQLite (replicated)"
    SchemaEditorClass = DatabaseSchemaEditor
    client_class = DatabaseClient
    creation_class = DatabaseCreation
    features_class = DatabaseFeatures
    ops_class = DatabaseOperations
