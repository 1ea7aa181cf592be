"""Foreign keys, checked at an entry's own end by point look-ups.

SQLite checks deferred foreign keys at COMMIT, of all entries that share it.  A verdict may depend
on nothing but its own entry, so rows are applied with SQLite's own checks off and every key that
was written or removed is looked up here, the same in a batch, alone, and inside a test's block.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from raftdjango.applier.faults import Refused
from raftdjango.writeset import Verdict, VerdictKind

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from raftdjango.applier.plans import Link, Plan
    from raftdjango.applier.schema import ForeignKey, Schema
    from raftdjango.writeset import Row


@contextmanager
def deferred_actions(connection: sqlite3.Connection, schema: Schema) -> Iterator[None]:
    """Where SQLite's own checks are on: let captured rows pass in the order of the capture.

    ON UPDATE CASCADE changes the child before the parent, which an immediate foreign key refuses.
    """
    if not schema.has_update_actions():
        yield
        return
    ((before,),) = schema.rows("PRAGMA defer_foreign_keys")
    connection.execute("PRAGMA defer_foreign_keys = ON")
    try:
        yield
    finally:
        if not before:
            connection.execute("PRAGMA defer_foreign_keys = OFF")


MESSAGE = "FOREIGN KEY constraint failed"


class References:
    """What one entry has done to keys so far."""

    def __init__(self) -> None:
        # Dictionaries as ordered sets: the first violation found is part of the verdict.
        self._touched: dict[ForeignKey, dict[Row, None]] = {}

    def clear(self) -> None:
        """The next entry begins."""
        self._touched.clear()

    def written(self, plan: Plan, rows: Iterable[Row]) -> None:
        """Whole rows that were inserted, or whose foreign keys were changed."""
        for link in plan.outgoing:
            self._note(link, rows)

    def changed(self, plan: Plan, old: Row, new: Row) -> None:
        """A row was updated: only foreign keys and parent keys that differ are of interest."""
        for link in plan.outgoing:
            if _differs(link, old, new):
                self._note(link, (new,))
        for link in plan.incoming:
            if _differs(link, old, new):
                self._note(link, (old,))

    def removed(self, plan: Plan, row: Row) -> None:
        """A row is gone: nobody may refer to it any more."""
        for link in plan.incoming:
            self._note(link, (row,))

    def _note(self, link: Link, rows: Iterable[Row]) -> None:
        foreign_key = link.foreign_key
        if foreign_key.broken:
            raise Refused(Verdict(VerdictKind.OPERATIONAL_ERROR, message=foreign_key.broken))
        touched = self._touched.setdefault(foreign_key, {})
        for row in rows:
            values = link.values(row)
            if values is not None:
                touched[values] = None

    def violation(self, cursor: sqlite3.Cursor) -> ForeignKey | None:
        """A foreign key of which some child touched by the entry has no parent."""
        for foreign_key, touched in self._touched.items():
            for values in touched:
                if (
                    cursor.execute(foreign_key.parent_sql, values).fetchone() is None
                    and cursor.execute(foreign_key.child_sql, values).fetchone() is not None
                ):
                    return foreign_key
        return None


def _differs(link: Link, old: Row, new: Row) -> bool:
    return any(old[place] != new[place] for place in link.positions) or link.positions == ()


def sort_key(key: Row) -> list[tuple[int, Any]]:
    """By which keys stand as SQLite sorts them: numbers, texts, blobs."""
    ranks: dict[type, int] = {str: 1, bytes: 2}
    return [(-1, 0) if value is None else (ranks.get(type(value), 0), value) for value in key]
