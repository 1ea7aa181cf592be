"""At which entry each table was changed last, so that a transaction's reads can be checked at commit.

Kept in a replicated table, because a verdict may depend on nothing that one node alone remembers.
Within a COMMIT the newest places are kept here and written once for each table touched.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from raftdjango.applier.tables import CHANGES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

_FIND = f"SELECT log_index FROM main.{CHANGES} WHERE name = ?"
_LAST = f"SELECT max(log_index) FROM main.{CHANGES}"
_ADD = f"INSERT INTO main.{CHANGES} (log_index, name) VALUES (?, ?)"
_CHANGE = f"UPDATE main.{CHANGES} SET log_index = ? WHERE name = ?"
_CLEAR = f"DELETE FROM main.{CHANGES}"
_UPPER_TO_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


@lru_cache(maxsize=4096)
def folded(name: str) -> str:
    """A table's name as SQLite compares names.

    ASCII alone: what else Python would fold changes with its version, and this is stored.
    """
    return name.translate(_UPPER_TO_LOWER)


class Changes:
    """The table of last changes, and those of the transaction in progress that are not in it yet."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor
        self._pending: dict[str, int] = {}

    def note(self, names: Iterable[str], index: int) -> None:
        """Rows of these tables were changed by the entry; in the table with the next `store()`."""
        for name in names:
            self._pending[folded(name)] = index

    def schema_changed(self) -> None:
        """An entry with statements was applied: the schema version stands for all that was before.

        Reads are of a schema version, and at another one they do not hold whatever they read.  So
        the names of tables that were renamed or dropped need no looking after.
        """
        self._pending.clear()
        self._cursor.execute(_CLEAR)

    def last(self, name: str) -> int:
        """The entry that changed the table last; 0: none since the schema changed.  "": any table."""
        pending = self._pending
        if name:
            name = folded(name)
            found = pending.get(name)
            if found is not None:
                return found
            row = self._cursor.execute(_FIND, (name,)).fetchone()
            return 0 if row is None else int(row[0])
        (stored,) = self._cursor.execute(_LAST).fetchone()
        return max([stored or 0, *pending.values()])

    def store(self) -> None:
        """Write what was noted."""
        for name, index in self._pending.items():
            if not self._cursor.execute(_CHANGE, (index, name)).rowcount:
                self._cursor.execute(_ADD, (index, name))
        self._pending.clear()

    def forget_pending(self) -> None:
        """The transaction in progress is given up."""
        self._pending.clear()
