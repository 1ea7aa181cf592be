"""`select_for_update()`: the rows read must still be so when the block commits.

Nothing is locked.  The query selects the keys of the rows that it reads besides what it was made to
select, of every table in its FROM, as other databases lock the rows of all these; `of` names fewer.  It
must be the same execution: which rows come may be the plan's choice, and a query for the keys alone has
another plan.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from django.db import NotSupportedError
from django.db.models.expressions import RawSQL
from django.db.models.sql import compiler
from django.db.models.sql.constants import CURSOR, GET_ITERATOR_CHUNK_SIZE, MULTI, ROW_COUNT, SINGLE

from raftdjango.backends.sqlite3.transactions.block import State

if TYPE_CHECKING:
    from raftdjango.backends.sqlite3.replication import Replication
    from raftdjango.writeset import Table

SKIP_LOCKED = (
    "SKIP LOCKED is not supported on this database backend. Nothing is ever locked here, so that "
    "nobody knows which rows others are working on. Select without skip_locked and run the block by "
    "atomic_retry: of two that took the same row, the second finds it taken when it runs again."
)
NO_ROWS = (
    "select_for_update() cannot protect the rows of {}: what it gives are no rows of a "
    "table. Find their keys first, then select these for update: "
    "Model.objects.select_for_update().filter(pk__in=keys)."
)
NO_NAMES = (
    'select_for_update() cannot protect the rows of "{}", which is no table whose rows have a key (but '
    "a view, perhaps). Select them from the tables behind it, or name in of=(...) those to protect."
)
OTHER_TEXTS = (
    "select_for_update() cannot protect rows while the connection has a text_factory of its own, which "
    "may change their keys. Set it back to str."
)
WITHIN = (
    "select_for_update() cannot protect rows that are only read in a subquery. Select them for "
    "update in a query of their own, and filter by the keys found."
)


class SQLCompiler(compiler.SQLCompiler):
    """SELECT, for update or not."""

    connection: Any
    having: Any
    qualify: Any
    _keys: list[tuple[Table, int]]
    """The tables whose keys follow what is selected, and how many columns of each."""

    def get_extra_select(self, order_by: Any, select: Any) -> Any:
        """Select the keys of the rows to be protected, too; Django takes them off subqueries."""
        extra = super().get_extra_select(order_by, select)
        self._keys = []
        if not self.query.select_for_update or self.query.explain_info:
            return extra
        if self.query.subquery:
            self.connection.replication.for_update_within = True
            return extra
        if self.query.select_for_update_skip_locked:
            raise NotSupportedError(SKIP_LOCKED)
        if getattr(self.connection.connection, "text_factory", str) is not str:
            raise NotSupportedError(OTHER_TEXTS)
        self._refuse_what_gives_no_rows()
        if self.connection.get_autocommit():
            return extra  # Django will refuse it.
        return [*extra, *self._select_keys()]

    def get_combinator_sql(self, combinator: str, *args: Any, **kwargs: Any) -> Any:
        """Refuse to protect what a part of it reads."""
        if any(query.select_for_update for query in self.query.combined_queries):
            raise NotSupportedError(NO_ROWS.format(f"a combined query ({combinator}())"))
        return super().get_combinator_sql(combinator, *args, **kwargs)

    def execute_sql(
        self,
        result_type: Any = MULTI,
        chunked_fetch: bool = False,  # noqa: FBT001, FBT002 - Django's
        chunk_size: int = GET_ITERATOR_CHUNK_SIZE,
    ) -> Any:
        """Run the query; with `select_for_update()`, have its rows checked at commit."""
        replication: Replication = self.connection.replication
        replication.for_update_within = False
        if self.query.select_for_update and not self.query.explain_info:
            result = self._rows_for_update(result_type)
        else:
            result = super().execute_sql(result_type, chunked_fetch, chunk_size)
        if replication.for_update_within:
            raise NotSupportedError(WITHIN)
        return result

    def _refuse_what_gives_no_rows(self) -> None:
        query = self.query
        for found, name in [
            (query.combinator, f"a combined query ({query.combinator}())"),
            (query.distinct, "a query with distinct()"),
            (query.group_by is not None or self.having, "a query with aggregates"),
            (self.qualify, "a query filtered by a window function"),
        ]:
            if found:
                raise NotSupportedError(NO_ROWS.format(name))

    def _select_keys(self) -> list[Any]:
        replication: Replication = self.connection.replication
        columns = []
        for alias, name in self._tables_to_protect().items():
            table = replication.table(name)
            if table is None:
                raise NotSupportedError(NO_NAMES.format(name))
            self._keys.append((table, len(table.key)))
            types = replication.capture.spec(table.name).key_types
            for place, declared in zip(table.key, types, strict=True):
                column = self.connection.ops.quote_name(table.columns[place])
                sql = f"{self._quoted(alias)}.{column}"
                if _is_converted(declared):
                    # The plus hides the declared type: storage values, not what the driver makes of them.
                    sql = f"+{sql}"
                columns.append((RawSQL(sql, ()), (sql, ()), None))  # noqa: S611 - quoted
        return columns

    def _tables_to_protect(self) -> dict[str, str]:
        """All in FROM, or those that `of` names: alias to table."""
        query = self.query
        tables = {
            alias: query.alias_map[alias].table_name
            for alias, count in query.alias_refcount.items()
            if count and alias in query.alias_map
        }
        for name in query.extra_tables:
            alias = query.table_map.get(name, [name])[0]
            tables.setdefault(alias, name)
        named = set(self.get_select_for_update_of_arguments())
        if named:
            # Where it names nothing that is selected, all of them, as elsewhere.
            return {a: t for a, t in tables.items() if self._quoted(a) in named}
        return tables

    def _quoted(self, alias: str) -> str:
        """As it stands in the query's columns; Django 6.1 has another name for it."""
        quote = getattr(self, "quote_name", None) or self.quote_name_unless_alias
        return str(quote(alias))

    def _rows_for_update(self, result_type: Any) -> Any:
        if result_type == CURSOR:
            raise NotSupportedError(
                "select_for_update() cannot protect rows that are fetched from a cursor later."
            )
        self._see_tables_as_they_are()
        cursor = super().execute_sql(CURSOR)
        if cursor is None:  # It is empty whatever the tables hold.
            return iter([]) if result_type == MULTI else None
        with closing(cursor):
            # All at once, iterator() or not: each of them is remembered until the commit anyway.
            rows = [cursor.fetchone()] if result_type == SINGLE else cursor.fetchall()
        rows = [row for row in rows if row is not None]
        selected = self._protect(rows)
        if result_type == SINGLE:
            return selected[0] if selected else None
        if result_type == ROW_COUNT:
            return len(selected)
        return [selected] if result_type == MULTI else None

    def _see_tables_as_they_are(self) -> None:
        """Keys are of the schema that the query will meet, though another node changed it since."""
        replication: Replication = self.connection.replication
        if replication.in_autocommit():
            return
        replication.ensure_begun()
        speculation = replication.speculation
        with speculation.undisturbed():
            if speculation.state is State.READING and not replication.capture.is_current:
                speculation.start_writing()

    def _protect(self, rows: list[Any]) -> list[Any]:
        """Have the rows' keys validated at commit; the rows without the keys."""
        stop = -sum(count for _, count in self._keys)
        selected = [row[: stop or None] for row in rows]
        for table, count in self._keys:
            start, stop = stop, stop + count
            found = dict.fromkeys(tuple(row[start : stop or None]) for row in rows)
            # An outer join without a match has no row to keep.
            keys = [key for key in found if None not in key]
            self.connection.replication.lock_for_update(table.name, keys)
        return selected


def _is_converted(declared_type: str) -> bool:
    name = declared_type.partition(" ")[0].partition("(")[0].upper()
    return name in sqlite3.converters
