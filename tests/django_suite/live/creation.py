"""A test database that is a node's own: emptied through the log, never made nor removed as a file."""

from __future__ import annotations

from typing import Any

from raftdjango.backends.sqlite3 import creation
from raftdjango.backends.sqlite3.capture.tables import quote


class LiveCreation(creation.DatabaseCreation):
    """Given by the runner to the connections of a run, so that no project can come by it."""

    def _get_test_db_name(self) -> str:
        return str(self.connection.settings_dict["NAME"])

    def _create_test_db(self, verbosity: int, autoclobber: bool, keepdb: bool = False) -> str:
        """Drop what the label before has left, as one entry, as a migration would."""
        connection = self.connection
        with connection.cursor() as cursor:
            tables = [
                info.name
                for info in connection.introspection.get_table_list(cursor)
                if not info.name.startswith("raftdjango_")
            ]
        if tables:
            with connection.schema_editor() as editor:
                for name in tables:
                    editor.execute(f"DROP TABLE {quote(name)}")
        return self._get_test_db_name()

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        """The rows stay, to be compared."""

    def _clone_test_db(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("A node has one database of each name.")
