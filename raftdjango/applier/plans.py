"""The SQL of row operations on one table, written once and kept until the schema changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from raftdjango.applier.faults import Refused
from raftdjango.applier.tables import PREFIX, quote
from raftdjango.writeset import Row, Table, Value, Verdict, VerdictKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftdjango.applier.schema import ForeignKey, Schema, TableSchema


K = TypeVar("K")
V = TypeVar("V")

TEXTS_MAX = 512
"""Kept per table and kind of operation."""


class Link:
    """A foreign key, and where its values stand in a row that was read whole."""

    __slots__ = ("foreign_key", "positions")

    def __init__(self, foreign_key: ForeignKey, positions: tuple[int, ...]) -> None:
        self.foreign_key = foreign_key
        self.positions = positions

    def values(self, row: Row) -> Row | None:
        """The row's values in the foreign key; None where one is NULL: that refers to nothing."""
        values = tuple([row[position] for position in self.positions])
        return None if None in values else values


def _keep(cache: dict[K, V], key: K, value: V) -> None:
    if len(cache) >= TEXTS_MAX:
        cache.clear()
    cache[key] = value


class Plan:
    """How to work on one table, as the operations mean it."""

    def __init__(self, table: Table, schema: Schema) -> None:
        if table.name.lower().startswith(PREFIX):
            message = f"table {table.name} may not be modified"
            raise Refused(Verdict(VerdictKind.OPERATIONAL_ERROR, table=table.name, message=message))
        self.table = table
        self.name = f"main.{quote(table.name)}"
        self.where = " AND ".join(f"{quote(table.columns[place])} IS ?" for place in table.key)
        self._schema = schema
        self._updates: dict[tuple[int, ...], str] = {}
        self._inserts: dict[tuple[tuple[int, ...], tuple[str, ...]], str] = {}
        outgoing, incoming = schema.outgoing(table.name), schema.incoming(table.name)
        self.has_foreign_keys = bool(outgoing or incoming)
        self.extra: tuple[str, ...] = ()
        """Generated columns that foreign keys need: read after the table's own."""
        self.outgoing, self.incoming = self._links(outgoing, incoming)
        columns = (*table.columns, *self.extra)
        # Unary plus hides the declared type, and the alias the name, from converters of the
        # connection: a digest is over storage values.
        read = ", ".join(f"+{quote(column)} AS c{n}" for n, column in enumerate(columns))
        self.select = f"SELECT {read} FROM {self.name}"
        self.select_by_key = f"{self.select} WHERE {self.where}"
        self.delete_by_key = f"DELETE FROM {self.name} WHERE {self.where}"
        self._known: dict[tuple[int, ...], bool] = {}
        self._all = tuple(range(len(table.columns)))
        self.insert_whole = self.insert(self._all)

    def _links(
        self, outgoing: Sequence[ForeignKey], incoming: Sequence[ForeignKey]
    ) -> tuple[list[Link], list[Link]]:
        places = {column.lower(): n for n, column in enumerate(self.table.columns)}

        def link(foreign_key: ForeignKey, columns: tuple[str, ...]) -> Link:
            for column in columns:
                if column not in places:
                    places[column] = len(places)
                    self.extra = (*self.extra, column)
            return Link(foreign_key, tuple(places[column] for column in columns))

        # A broken foreign key may name columns that do not exist; it is refused when met.
        own = [link(k, () if k.broken else k.columns) for k in outgoing]
        others = [link(k, () if k.broken else k.parent_columns) for k in incoming]
        return own, others

    def knows_references(self, columns: tuple[int, ...]) -> bool:
        """Are the values of all foreign keys of the table among these columns?"""
        known = self._known.get(columns)
        if known is None:
            needed = {place for link in self.outgoing for place in link.positions}
            known = needed.issubset(columns)
            _keep(self._known, columns, known)
        return known

    def spread(self, columns: tuple[int, ...], values: Row) -> Row:
        """Values of some columns at their places in a whole row."""
        if columns == self._all:
            return values
        row: list[Value] = [None] * len(self._all)
        for place, value in zip(columns, values, strict=True):
            row[place] = value
        return tuple(row)

    @property
    def declared(self) -> TableSchema | None:
        """The table as the database declares it."""
        return self._schema.table(self.table.name)

    def insert(self, columns: tuple[int, ...], returning: tuple[str, ...] = ()) -> str:
        """INSERT of these columns.

        OR ABORT: a conflict clause of the table's own must not undo more than this statement.
        """
        sql = self._inserts.get((columns, returning))
        if sql is None:
            names = ", ".join(quote(self.table.columns[place]) for place in columns)
            marks = ", ".join("?" * len(columns))
            values = f"({names}) VALUES ({marks})" if columns else "DEFAULT VALUES"
            sql = f"INSERT OR ABORT INTO {self.name} {values}"
            if returning:
                answers = (f"+{quote(name)} AS c{n}" for n, name in enumerate(returning))
                sql += f" RETURNING {', '.join(answers)}"
            _keep(self._inserts, (columns, returning), sql)
        return sql

    def update(self, columns: tuple[int, ...]) -> str:
        """UPDATE of these columns by key."""
        sql = self._updates.get(columns)
        if sql is None:
            changes = ", ".join(f"{quote(self.table.columns[place])} = ?" for place in columns)
            sql = f"UPDATE OR ABORT {self.name} SET {changes} WHERE {self.where}"
            _keep(self._updates, columns, sql)
        return sql
