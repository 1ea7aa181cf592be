"""Whether the database is still the one that its applier wrote last.

A file can be replaced under a running node: a copy put in its place, `sqlite3.Connection.backup()` into
it, `rm`.  To go on would be to apply entries on something else than what those before them had made.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from raftdjango.applier.faults import EnvironmentFault
from raftdjango.applier.tables import STATE

if TYPE_CHECKING:
    from raftdjango.applier.tables import AppliedState

WHAT_NEXT = (
    "Nothing was written to it since. Restart the raftnode: it goes on from what the file holds now, or "
    "says why it cannot. Another database's content is loaded through Django (manage.py loaddata)."
)


class Whereabouts:
    """The file of one connection, as it was at first."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._cursor = connection.cursor()
        self._cursor.row_factory = None
        ((_, _, path),) = (
            row for row in self._cursor.execute("PRAGMA database_list") if row[1] == "main"
        )
        self._path = Path(path) if path else None
        self._file = self._identity()

    def check(self, state: AppliedState) -> None:
        """Raise `EnvironmentFault` unless the database is in this state; inside a transaction."""
        if self._identity() != self._file:
            raise EnvironmentFault(
                f"Database file {self._path} was removed, or another was put in its place. {WHAT_NEXT}"
            )
        found = self._found()
        if found != (state.applied_index, state.applied_term, state.time_ms, state.cluster_id):
            shows = f"it shows entry {found[0]}" if found else "it shows none"
            raise EnvironmentFault(
                f"The content of database file {self._path} was replaced: this node applied entry "
                f"{state.applied_index} last, and {shows}, or one of another cluster. {WHAT_NEXT}"
            )

    def _identity(self) -> tuple[int, int] | None:
        if not self._path:
            return None  # In memory.
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _found(self) -> tuple[int, int, int, bytes | None] | None:
        try:
            row: tuple[int, int, int, bytes | None] | None = self._cursor.execute(
                f"SELECT applied_index, applied_term, time_ms, cluster_id FROM main.{STATE}"
                " WHERE id = 1"
            ).fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
            return None  # No such table.
        return row
