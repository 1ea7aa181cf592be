"""`select_for_update()`: the rows read must still be so when the block commits.

Nothing is locked.  The query is run again on the same snapshot for the keys of the rows that it read,
of every table whose columns it selects, as other databases lock the rows of all tables in FROM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.db import NotSupportedError
from django.db.backends.sqlite3.base import SQLiteCursorWrapper
from django.db.models.expressions import Col, RawSQL
from django.db.models.sql import compiler

if TYPE_CHECKING:
    from raftdjango.backends.sqlite3.replication import Replication
    from raftdjango.writeset import Table


class KeyCompiler(compiler.SQLCompiler):
    """The same rows in the same order, but of each table only the key."""

    connection: Any
    tables: list[Table]
    """Tables in the order of the columns selected, once for each alias."""

    def get_select(self, *args: Any, **kwargs: Any) -> Any:
        """Select keys in place of what the query selects."""
        selected, _, _ = super().get_select(*args, **kwargs)
        replication: Replication = self.connection.replication
        quote = self.connection.ops.quote_name
        base = self.query.get_initial_alias()
        aliases = dict.fromkeys(
            [
                base,
                *(expression.alias for expression, _, _ in selected if isinstance(expression, Col)),
            ]
        )
        self.tables, keys = [], []
        for alias in aliases:
            table = replication.table(self.query.alias_map[alias].table_name)
            if table is None:
                continue
            self.tables.append(table)
            for place in table.key:
                name = table.columns[place]
                # The plus hides the declared type: storage values, not what the driver makes of them.
                sql = f"+{quote(alias)}.{quote(name)}"
                keys.append((RawSQL(sql, ()), (sql, ()), None))  # noqa: S611 - quoted
        return keys, None, {}


def lock_rows_read(select: Any) -> None:
    """Have the rows of the query just executed by `select` validated at commit."""
    if select.query.combinator:
        raise NotSupportedError(
            "select_for_update() cannot protect the rows of a combined query (union() and its "
            "like). Select them for update one query at a time."
        )
    query = select.query.clone()
    # Of all its tables, also where `of` names some; it is said once, and was.
    query.select_for_update = False
    keys = KeyCompiler(query, select.connection, select.using)
    try:
        sql, parameters = keys.as_sql()
    except EmptyResultSet:
        return
    if not sql or not keys.tables:
        return
    replication: Replication = select.connection.replication
    rows = _rows(replication, sql, parameters)
    start = 0
    for table in keys.tables:
        stop = start + len(table.key)
        found = dict.fromkeys(tuple(row[start:stop]) for row in rows)
        start = stop
        # An outer join without a match has no row to keep.
        replication.lock_for_update(table.name, [key for key in found if None not in key])


def _rows(replication: Replication, sql: str, parameters: Any) -> list[tuple[Any, ...]]:
    """On the driver's connection: the read was already counted, logged and remembered."""
    with replication.speculation.undisturbed():
        connection = replication.speculation.connection
        with connection.plain():
            cursor = connection.cursor(SQLiteCursorWrapper)
        try:
            rows: list[tuple[Any, ...]] = cursor.execute(sql, parameters).fetchall()
        finally:
            cursor.close()
        return rows
