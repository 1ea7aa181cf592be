"""Which row another transaction has changed, of those that a block had read: for the error's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.backends.sqlite3.base import SQLiteCursorWrapper

from raftdjango.backends.sqlite3.statements.facts import ANY_TABLE, FactsCache
from raftdjango.exceptions import NotReplicable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftdjango.backends.sqlite3.capture.triggers import Capture
    from raftdjango.writeset import Row, Table

_STORED = frozenset({int, float, str, bytes})


@dataclass(frozen=True, slots=True)
class Difference:
    """A query that finds something else now."""

    sql: str
    parameters: Any
    before: list[tuple[Any, ...]] | None
    """What it found, if that was little."""


def what_differs(capture: Capture, facts: FactsCache, difference: Difference) -> tuple[str, Row]:
    """Table and key, as far as that can be told; call it where the query finds something else."""
    connection, parameters, before = capture.connection, difference.parameters, difference.before
    with connection.plain():
        cursor = connection.cursor(SQLiteCursorWrapper)
    cursor.execute(difference.sql, parameters)
    columns = [column[0] for column in cursor.description or ()]
    # Should there be many now, then more than one of them differs.
    now = connection.fetch(lambda: cursor.fetchmany(len(before or ()) + 2))
    cursor.close()
    read = facts.of(_driver_sql(cursor, difference), parameters or (), keep=False).read
    if len(read) != 1 or ANY_TABLE in read:
        return "", ()
    (table,) = read
    try:
        spec = capture.spec(table)
    except NotReplicable:
        return table, ()
    return table, () if before is None else _changed_key(spec.table, columns, before, now)


def _driver_sql(cursor: SQLiteCursorWrapper, difference: Difference) -> str:
    """The query as SQLite gets it."""
    parameters = difference.parameters
    if parameters is None:
        return difference.sql
    names = list(parameters) if isinstance(parameters, Mapping) else None
    return str(cursor.convert_query(difference.sql, param_names=names))


def _changed_key(
    table: Table,
    columns: Sequence[str],
    before: Sequence[tuple[Any, ...]],
    now: Sequence[tuple[Any, ...]],
) -> Row:
    """The key of the only row that two results differ in; empty where there is no telling."""
    names = [table.columns[place] for place in table.key]
    if any(columns.count(name) != 1 for name in names):
        return ()
    places = [columns.index(name) for name in names]
    changed = [row for row in before if row not in now] + [row for row in now if row not in before]
    keys = {tuple(row[place] for place in places) for row in changed}
    if len(keys) != 1:
        return ()
    (key,) = keys
    return key if all(type(value) in _STORED for value in key) else ()
