"""Statements that need no local execution: they name rows and literal values, nothing else.

The compilers make the SQL as ever, and what is here reads it: a statement may go blind exactly when
its text consists of columns and placeholders in the one shape that each kind has.  So no expression,
no field's own placeholder and no join can be overlooked, whatever Django version made the text.  The
parameters are turned into SQLite storage classes as the driver would; column affinity is applied by
SQLite when the applier executes the operation.
"""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

from raftdjango.writeset import BlindDelete, BlindInsert, BlindUpdate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftdjango.writeset import Row, Table, Value

BlindOperation = BlindInsert | BlindUpdate | BlindDelete
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
_EXACT = frozenset({type(None), str, bytes})
TEXTS_MAX, TEXT_LENGTH_MAX = 512, 1_000
"""Statements remembered per table."""
_CONSTANT_DEFAULT = re.compile(
    r"(NULL|TRUE|FALSE|[+-]?\s*(\d+(\.\d*)?|\.\d+)(E[+-]?\d+)?|0X[0-9A-F]+|X?'([^']|'')*')",
    re.IGNORECASE,
)


class NotLiteral(Exception):
    """A value that the driver would refuse or that only it can convert."""


def storage_row(values: Sequence[Any]) -> Row:
    """The values as the driver would bind them."""
    return tuple(
        [
            value
            if type(value) in _EXACT or (type(value) is int and INTEGER_MIN <= value <= INTEGER_MAX)
            else _storage(value)
            for value in values
        ]
    )


def _storage(value: Any) -> Value:
    kind = type(value)
    if kind is not int and kind is not float:
        value = sqlite3.adapt(value, sqlite3.PrepareProtocol, value)
    if isinstance(value, int):
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise NotLiteral
        return int(value)
    if isinstance(value, float):
        # SQLite stores a NaN as NULL.
        return float(value) if value == value else None
    if isinstance(value, str):
        return str.__str__(value)
    if value is None:
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise NotLiteral


class InsertShape(NamedTuple):
    """What is known of INSERTs of the same columns into the same table."""

    table: Table
    columns: tuple[int, ...]
    """Positions in `table.columns`."""
    key: tuple[int, ...]
    """Where the values of the primary key are among those of `columns`."""


def insert_shape(
    connection: sqlite3.Connection, table: Table, names: Sequence[str]
) -> InsertShape | None:
    """The shape of an INSERT of the columns named; None if it has to be executed."""
    try:
        columns = tuple(table.columns.index(name) for name in names)
        key = tuple(columns.index(place) for place in table.key)
    except ValueError:
        return None  # No such column; or SQLite would choose the key, which has to be known before.
    if not constant_defaults(connection, table, columns):
        return None
    return InsertShape(table, columns, key)


def insert_operation(
    shape: InsertShape, values: Sequence[Any], returning: Sequence[str]
) -> BlindInsert | None:
    """One row of an INSERT."""
    try:
        row = storage_row(values)
    except NotLiteral:
        return None
    for place in shape.key:
        if row[place] is None:
            return None
    if not returning:
        return BlindInsert(shape.table, shape.columns, row)
    places, names = split_returning(shape.table, returning)
    return BlindInsert(shape.table, shape.columns, row, places, names)


def split_returning(table: Table, names: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Columns to answer: those that travel by position, generated ones by name."""
    places = tuple(table.columns.index(name) for name in names if name in table.columns)
    return places, tuple(name for name in names if name not in table.columns)


def returned_order(table: Table, names: Sequence[str]) -> list[int]:
    """Where each name is in what a blind insert answers, as `split_returning` ordered it."""
    places, generated = split_returning(table, names)
    answered = [*(table.columns[place] for place in places), *generated]
    return [answered.index(name) for name in names]


class ByKey(NamedTuple):
    """An UPDATE or DELETE by key, as read from its text."""

    places: tuple[int, ...]
    """Columns that an UPDATE changes."""
    nulls: tuple[bool, ...]
    """Which of them are set to NULL in the text itself; the others have a parameter each."""
    keys: int
    """How many parameters are keys: the last ones."""


def update_operation(quoted: Quoted, sql: str, parameters: Sequence[Any]) -> BlindUpdate | None:
    """`UPDATE t SET a = %s, b = NULL WHERE t.key = %s`, read back into its parts."""
    read = quoted.read(sql, _read_update)
    if read is None or len(parameters) != read.nulls.count(False) + read.keys:
        return None
    given = len(parameters) - read.keys
    rest = iter(parameters[:given])
    try:
        values = storage_row([None if null else next(rest) for null in read.nulls])
        keys = _keys(parameters[given:])
    except NotLiteral:
        return None
    if keys is None:
        return None
    return BlindUpdate(quoted.source, keys, tuple(zip(read.places, values, strict=True)))


def delete_operation(quoted: Quoted, sql: str, parameters: Sequence[Any]) -> BlindDelete | None:
    """`DELETE FROM t WHERE t.key IN (%s, %s)`, read back into its parts."""
    read = quoted.read(sql, _read_delete)
    if read is None or len(parameters) != read.keys:
        return None
    try:
        keys = _keys(parameters)
    except NotLiteral:
        return None
    return BlindDelete(quoted.source, keys) if keys is not None else None


class Quoted:
    """How a table's names stand in SQL text, and what was read in texts so far."""

    __slots__ = ("_texts", "key", "positions", "source", "table")

    def __init__(self, table: Table, quote_name: Any) -> None:
        self.source = table
        self.table = quote_name(table.name)
        self.positions = {quote_name(name): place for place, name in enumerate(table.columns)}
        self.key = ""
        """The key column, qualified; empty where a key has several."""
        if len(table.key) == 1:
            self.key = f"{self.table}.{quote_name(table.columns[table.key[0]])}"
        self._texts: dict[str, ByKey | None] = {}

    def read(self, sql: str, read: Callable[[Quoted, str], ByKey | None]) -> ByKey | None:
        """What `read` reads in `sql`: each text once."""
        try:
            return self._texts[sql]
        except KeyError:
            found = read(self, sql)
            if len(self._texts) >= TEXTS_MAX:
                self._texts.clear()
            if len(sql) <= TEXT_LENGTH_MAX:
                self._texts[sql] = found
            return found


def _read_update(quoted: Quoted, sql: str) -> ByKey | None:
    head, _, where = sql.partition(" WHERE ")
    prefix = f"UPDATE {quoted.table} SET "
    if not head.startswith(prefix):
        return None
    places: list[int] = []
    nulls: list[bool] = []
    for assignment in head[len(prefix) :].split(", "):
        column, _, value = assignment.partition(" = ")
        place = quoted.positions.get(column)
        if (
            place is None
            or place in quoted.source.key
            or place in places
            or value not in {"%s", "NULL"}
        ):
            return None
        places.append(place)
        nulls.append(value == "NULL")
    keys = _key_count(quoted, where)
    return ByKey(tuple(places), tuple(nulls), keys) if keys else None


def _read_delete(quoted: Quoted, sql: str) -> ByKey | None:
    head, _, where = sql.partition(" WHERE ")
    if head != f"DELETE FROM {quoted.table}":
        return None
    keys = _key_count(quoted, where)
    return ByKey((), (), keys) if keys else None


def _key_count(quoted: Quoted, where: str) -> int:
    """How many keys `key = %s` or `key IN (%s, %s)` takes; 0 if the condition is another one."""
    if not quoted.key:
        return 0
    if where == f"{quoted.key} = %s":
        return 1
    count = where.count("%s")
    return count if where == f"{quoted.key} IN ({', '.join(['%s'] * count)})" else 0


def _keys(parameters: Sequence[Any]) -> tuple[Row, ...] | None:
    """The keys themselves, each once."""
    keys = dict.fromkeys(storage_row(parameters))
    if None in keys:
        return None  # `= NULL` is true for no row; the applier would have to know.
    return tuple((key,) for key in keys)


def constant_defaults(connection: sqlite3.Connection, table: Table, columns: Sequence[int]) -> bool:
    """Whether every column that an INSERT leaves out gets the same value on every node."""
    left_out = {table.columns[place] for place in range(len(table.columns)) if place not in columns}
    if not left_out:
        return True
    rows = connection.execute("SELECT name, dflt_value FROM pragma_table_info(?)", (table.name,))
    return all(_is_constant(default) for name, default in rows.fetchall() if name in left_out)


def _is_constant(default: str | None) -> bool:
    if default is None:
        return True
    text = default.strip()
    while text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    return _CONSTANT_DEFAULT.fullmatch(text) is not None
