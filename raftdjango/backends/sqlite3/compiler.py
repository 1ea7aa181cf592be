"""Django's SQL compilers, with three things added.

* A row whose key the database would choose gets its key before it is written.
* A statement of known rows and literal values goes to the applier without being executed here
  (`blind`); inside a block it is executed, and the block told that it could have.
* Rows read with `select_for_update()` are noted, to be checked when the block commits.

Rows are captured by triggers, so a statement that none of this concerns needs nothing from here.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.db.models.sql import compiler
from django.db.models.sql.compiler import SQLAggregateCompiler
from django.db.models.sql.constants import MULTI, NO_RESULTS, ROW_COUNT
from django.db.utils import IntegrityError

from raftdjango.backends.sqlite3 import blind
from raftdjango.backends.sqlite3.for_update import lock_rows_read
from raftdjango.backends.sqlite3.key_source import draw_keys

if TYPE_CHECKING:
    from raftdjango.backends.sqlite3.replication import Replication
    from raftdjango.writeset import BlindInsert

__all__ = [
    "SQLAggregateCompiler",
    "SQLCompiler",
    "SQLDeleteCompiler",
    "SQLInsertCompiler",
    "SQLUpdateCompiler",
]

DRAWS_MAX = 10
"""How often keys are drawn for one statement before a collision is reported."""
ANSWERS = frozenset({ROW_COUNT, NO_RESULTS})
"""What may be asked of a blind statement."""


class AssignedKey(int):
    """A key drawn for a row; no field may convert it."""

    __slots__ = ()


class SQLCompiler(compiler.SQLCompiler):
    """SELECT."""

    def execute_sql(self, *args: Any, **kwargs: Any) -> Any:
        """Run the query; with `select_for_update()`, have its rows checked at commit."""
        result = super().execute_sql(*args, **kwargs)
        if self.query.select_for_update:
            lock_rows_read(self)
        return result


class _TextOnce:
    """Makes the SQL once: to be read here, and then to be executed by Django's own method."""

    _made: Any = None

    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        made, self._made = self._made, None
        return made or super().as_sql(*args, **kwargs)  # type: ignore[misc]


class SQLInsertCompiler(_TextOnce, compiler.SQLInsertCompiler):
    """INSERT."""

    connection: Any
    query: Any
    _keys: dict[int, AssignedKey]
    _rows: tuple[list[Any], list[list[Any]]] | None = None
    """Fields and parameters of the SQL made last, when it holds nothing but values."""

    def execute_sql(self, returning_fields: Any = None) -> Any:  # type: ignore[override]
        """Insert the rows, with keys of our own where the database would choose them."""
        self._keys = {}
        key_field = self._field_without_key()
        if key_field is None:
            return self._insert(returning_fields)
        self.query.fields = [*self.query.fields, key_field]
        goes_blind = self.query.on_conflict is None and self._replication.in_true_autocommit()
        for draws_left in reversed(range(DRAWS_MAX)):
            self._draw(key_field, probe=not goes_blind)
            try:
                return self._insert(returning_fields)
            except IntegrityError as error:
                if not draws_left or not self._is_collision(error, key_field):
                    raise
            # Somebody chose one of these keys himself.  Look before the next draw.
            goes_blind = False
        raise AssertionError("unreachable")  # pragma: no cover

    @property
    def _replication(self) -> Replication:
        replication: Replication = self.connection.replication
        return replication

    def _field_without_key(self) -> Any:
        """The auto field whose values this statement leaves to the database."""
        field = self.query.get_meta().auto_field
        if field is None or field in self.query.fields:
            return None
        # A subclass may store something else, which SQLite does not count up.
        return field if field.db_type(self.connection) == "integer" else None

    def _draw(self, field: Any, *, probe: bool) -> None:
        objects = self.query.objs
        table = self.query.get_meta().db_table
        keys = draw_keys(self.connection, table, field.column, len(objects), probe=probe)
        self._keys = {id(o): AssignedKey(key) for o, key in zip(objects, keys, strict=True)}

    def _is_collision(self, error: IntegrityError, field: Any) -> bool:
        return str(error).endswith(f": {self.query.get_meta().db_table}.{field.column}")

    def pre_save_val(self, field: Any, obj: Any) -> Any:
        """The value of a field, before it is prepared."""
        # Not through the object, whose key must stay unset if the statement fails.
        if self._keys and field is self.query.fields[-1]:
            return self._keys[id(obj)]
        return super().pre_save_val(field, obj)

    def prepare_value(self, field: Any, value: Any) -> Any:
        """The value as it is stored."""
        if type(value) is AssignedKey:
            return int(value)
        return super().prepare_value(field, value)

    def assemble_as_sql(self, fields: Any, value_rows: Any) -> Any:
        """Placeholders and parameters; remembered when there is nothing but values."""
        placeholder_rows, param_rows = super().assemble_as_sql(fields, value_rows)
        plain = ("%s",) * len(fields)
        literal = fields[0] is not None and all(
            tuple(placeholders) == plain and len(parameters) == len(plain)
            for placeholders, parameters in zip(placeholder_rows, param_rows, strict=True)
        )
        # A copy: the caller goes on to append to it.
        self._rows = (list(fields), list(param_rows)) if literal else None
        return placeholder_rows, param_rows

    def _insert(self, returning_fields: Any) -> Any:
        self.returning_fields = returning_fields
        self._rows = None
        self._made = self.as_sql()
        autocommit = self._replication.in_true_autocommit()
        operations = self._operations(in_block=not autocommit)
        if operations and autocommit:
            self._made = None
            return self._insert_blind(operations)
        result = super().execute_sql(returning_fields)
        if operations:
            self._replication.note_blind_candidate(replace(operations[0], expected_rows=1))
        return result

    def _operations(self, *, in_block: bool) -> list[BlindInsert]:
        """The rows as blind operations; empty if the statement needs executing."""
        if self._rows is None or self.query.on_conflict is not None:
            return []
        fields, rows = self._rows
        if in_block and len(rows) > 1:
            return []
        table = self._replication.table(self.query.get_meta().db_table)
        if table is None:
            return []
        try:
            places = tuple(table.columns.index(field.column) for field in fields)
        except ValueError:
            return []
        if not blind.constant_defaults(self.connection.connection, table, places):
            return []
        returning = [] if in_block else self._columns_to_ask(fields, rows)
        operations = [blind.insert_operation(table, places, row, returning) for row in rows]
        return [] if None in operations else operations  # type: ignore[return-value]

    def _columns_to_ask(self, fields: list[Any], rows: list[list[Any]]) -> list[str]:
        """Columns to return; none if they are all known here."""
        columns = [field.column for field in self.returning_fields or ()]
        if self._known_keys(columns, fields, rows) is not None:
            return []
        return columns

    def _known_keys(self, columns: list[str], fields: list[Any], rows: list[list[Any]]) -> Any:
        """The answer where it is only the integer key, which is stored as it was given."""
        auto_field = self.query.get_meta().auto_field
        if auto_field is None or columns != [auto_field.column]:
            return None
        keys = [row[fields.index(auto_field)] for row in rows]
        return [(key,) for key in keys] if all(type(key) is int for key in keys) else None

    def _insert_blind(self, operations: list[BlindInsert]) -> Any:
        table = operations[0].table
        assert self._rows
        fields, rows = self._rows
        verdict = self._replication.propose_blind(*operations, table=table.name)
        if not self.returning_fields:
            return []
        columns = [field.column for field in self.returning_fields]
        answer = self._known_keys(columns, fields, rows)
        if answer is None:
            order = blind.returned_order(table, columns)
            declared = [field.db_type(self.connection) for field in self.returning_fields]
            answer = [
                tuple(
                    as_driver_returns(row[i], kind) for i, kind in zip(order, declared, strict=True)
                )
                for row in verdict.rows
            ]
        cols = [field.get_col(table.name) for field in self.returning_fields]
        if converters := self.get_converters(cols):
            answer = self.apply_converters(answer, converters)
        return list(answer)


def as_driver_returns(value: Any, declared_type: str | None) -> Any:
    """A storage value as the driver gives it for a column of that declared type."""
    if value is None or not declared_type:
        return value
    name = declared_type.partition(" ")[0].partition("(")[0].upper()
    convert = sqlite3.converters.get(name)
    if convert is None:
        return value
    return convert(value if isinstance(value, bytes) else str(value).encode())


class _ByKey(_TextOnce):
    """What UPDATE and DELETE have in common."""

    connection: Any
    query: Any

    def _by_key(self, result_type: str, read: Any, execute: Any) -> Any:
        """Read the statement by `read`; propose it, or `execute` it and say that it could have."""
        replication: Replication = self.connection.replication
        table = replication.table(self.query.get_meta().db_table)
        operation = None
        if table is not None and table.columns[table.key[0]] == self.query.get_meta().pk.column:
            try:
                self._made = self.as_sql()
            except EmptyResultSet:
                return execute(result_type)
            sql, parameters = self._made
            quoted = blind.Quoted(table, self.connection.ops.quote_name)
            operation = read(table, sql, parameters, quoted)
        if operation is not None and replication.in_true_autocommit():
            self._made = None
            row_count = replication.propose_blind(operation, table=operation.table.name).row_count
            return row_count if result_type == ROW_COUNT else 0
        row_count = execute(result_type)
        if row_count == 0 and operation is not None and replication.renew_view():
            row_count = execute(result_type)
        if operation is not None and row_count and result_type == ROW_COUNT:
            replication.note_blind_candidate(replace(operation, expected_rows=row_count))
        return row_count


class SQLUpdateCompiler(_ByKey, compiler.SQLUpdateCompiler):
    """UPDATE."""

    def execute_sql(self, result_type: Any) -> Any:  # type: ignore[override]
        """Update; answers the number of rows."""
        if self.query.related_updates or result_type not in ANSWERS:
            return super().execute_sql(result_type)
        return self._by_key(result_type, blind.update_operation, super().execute_sql)


class SQLDeleteCompiler(_ByKey, compiler.SQLDeleteCompiler):
    """DELETE."""

    def execute_sql(self, result_type: Any = MULTI, *args: Any, **kwargs: Any) -> Any:
        """Delete; answers the number of rows."""
        if result_type not in ANSWERS:
            return super().execute_sql(result_type, *args, **kwargs)
        return self._by_key(result_type, blind.delete_operation, super().execute_sql)
