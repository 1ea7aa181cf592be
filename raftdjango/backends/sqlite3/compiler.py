"""Django's SQL compilers, with three things added.

* A row whose key the database would choose gets its key before it is written.
* A statement of known rows and literal values goes to the applier without being executed here
  (`blind`); inside a block it is executed, and the block told that it could have.
* Rows read with `select_for_update()` are noted, to be checked when the block commits.

Rows are captured by triggers, so a statement that none of this concerns needs nothing from here.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.db.backends.utils import strip_quotes
from django.db.models import AutoField, BigAutoField, SmallAutoField
from django.db.models.sql import compiler
from django.db.models.sql.compiler import SQLAggregateCompiler
from django.db.models.sql.constants import MULTI, NO_RESULTS, ROW_COUNT
from django.db.utils import IntegrityError

from raftdjango.backends.keys import OutdatedKeys
from raftdjango.backends.sqlite3.statements import blind
from raftdjango.backends.sqlite3.statements.for_update import SQLCompiler
from raftdjango.backends.sqlite3.statements.key_source import draw_keys, version_to_draw_for
from raftdjango.backends.sqlite3.transactions import commit
from raftdjango.backends.sqlite3.transactions.commit import SCHEMA_CHANGED
from raftdjango.exceptions import TransactionConflict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftdjango.backends.sqlite3.replication import Replication
    from raftdjango.writeset import BlindInsert, Verdict

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
SCHEMA_ATTEMPTS = 3
"""How often a blind statement is made anew for a schema that moved, before it is executed here."""
ORDINARY_KEYS = frozenset({AutoField, BigAutoField, SmallAutoField})
PLAIN = frozenset(
    {type(None), bool, int, float, str, bytes, Decimal, dt.date, dt.datetime, dt.time}
)
"""Types of values that can be nothing but a parameter."""


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
    _key_field: Any = None
    """Whose values this statement leaves to the database; the last of its fields from then on."""
    _keys: Sequence[int] = ()
    """Drawn for it, one for each object."""
    _rows: tuple[list[Any], list[list[Any]]] | None = None
    """Fields and parameters of the SQL made last, when it holds nothing but values."""

    def execute_sql(self, returning_fields: Any = None) -> Any:  # type: ignore[override]
        """Insert the rows, with keys of our own where the database would choose them."""
        replication: Replication = self.connection.replication
        autocommit = replication.in_true_autocommit()
        self._key_field = self._field_without_key()
        self._keys = ()
        if self._key_field is None:
            return self._insert(returning_fields, autocommit=autocommit)
        self.query.fields = [*self.query.fields, self._key_field]
        # Fields may create other rows in the midst of this, when they prepare their values.
        outer = replication.keys_drawn_for
        goes_blind = autocommit and self.query.on_conflict is None
        try:
            for draws_left in reversed(range(DRAWS_MAX)):
                self._draw(probe=not goes_blind)
                try:
                    return self._insert(returning_fields, autocommit=autocommit)
                except IntegrityError as error:
                    if not draws_left or not self._is_collision(error):
                        raise
                    # Somebody chose one of these keys himself.  Look before the next draw.
                    goes_blind = False
                except OutdatedKeys:
                    if not draws_left:
                        raise TransactionConflict(SCHEMA_CHANGED) from None
        finally:
            replication.keys_drawn_for = outer
        raise AssertionError("unreachable")  # pragma: no cover

    def _field_without_key(self) -> Any:
        """The auto field whose values this statement leaves to the database."""
        field = self.query.get_meta().auto_field
        if field is None or any(field is given for given in self.query.fields):
            return None
        # A subclass may store something else, which SQLite does not count up.
        ordinary = type(field) in ORDINARY_KEYS or field.db_type(self.connection) == "integer"
        return field if ordinary else None

    def _draw(self, *, probe: bool) -> None:
        table = strip_quotes(self.query.get_meta().db_table)
        count = len(self.query.objs)
        column = self._key_field.column
        replication: Replication = self.connection.replication
        replication.keys_drawn_for = None
        try:
            version = version_to_draw_for(replication)
            self._keys = draw_keys(self.connection, table, column, count, version, probe=probe)
        except sqlite3.Error:
            # Interrupted, perhaps, because the block has lost the write lock.
            replication.speculation.check()
            raise
        replication.keys_drawn_for = version

    def _is_collision(self, error: IntegrityError) -> bool:
        table = strip_quotes(self.query.get_meta().db_table)
        return str(error).endswith(f": {table}.{self._key_field.column}")

    def assemble_as_sql(self, fields: Any, value_rows: Any) -> Any:
        """Placeholders and parameters, with the keys drawn; remembered when all are values."""
        if self._keys:
            # Here, and not through the objects, whose keys must stay unset if the statement fails;
            # and behind the field, which may not convert them.
            assert fields[-1] is self._key_field
            value_rows = [[*row[:-1], key] for row, key in zip(value_rows, self._keys, strict=True)]
        if fields[0] is not None and _nothing_but_values(fields, value_rows):
            param_rows = [list(row) for row in value_rows]
            # A copy: the caller goes on to append to it.
            self._rows = (list(fields), list(param_rows))
            return [("%s",) * len(fields)] * len(param_rows), param_rows
        placeholder_rows, param_rows = super().assemble_as_sql(fields, value_rows)
        plain = ("%s",) * len(fields)
        literal = fields[0] is not None and all(
            tuple(placeholders) == plain and len(parameters) == len(plain)
            for placeholders, parameters in zip(placeholder_rows, param_rows, strict=True)
        )
        self._rows = (list(fields), list(param_rows)) if literal else None
        return placeholder_rows, param_rows

    def _insert(self, returning_fields: Any, *, autocommit: bool) -> Any:
        self._rows = None
        if not autocommit:
            result = super().execute_sql(returning_fields)
            self._note_candidate()
            return result
        self.returning_fields = returning_fields
        made = self.as_sql()
        for _ in range(SCHEMA_ATTEMPTS):
            operations = self._operations()
            if not operations:
                break
            verdict = commit.propose_blind(self.connection.replication, operations)
            if verdict is not None:
                return self._answer(operations, verdict)
        self._made = made
        return super().execute_sql(returning_fields)

    def _note_candidate(self) -> None:
        """Tell the block just written in that this statement could have gone blind."""
        replication: Replication = self.connection.replication
        if len(self.query.objs) == 1 and replication.may_be_only_statement():
            for operation in self._operations(in_block=True):
                replication.note_blind_candidate(replace(operation, expected_rows=1))

    def _operations(self, *, in_block: bool = False) -> tuple[BlindInsert, ...]:
        """The rows as blind operations; empty if the statement needs executing."""
        if self._rows is None or self.query.on_conflict is not None:
            return ()
        fields, rows = self._rows
        columns = tuple([field.column for field in fields])
        shape = self.connection.replication.insert_shape(self.query.get_meta().db_table, columns)
        if shape is None:
            return ()
        known = in_block or not self.returning_fields or self._known_keys() is not None
        returning = [] if known else [field.column for field in self.returning_fields or ()]
        operations = [blind.insert_operation(shape, row, returning) for row in rows]
        return () if None in operations else tuple(operations)  # type: ignore[arg-type]

    def _known_keys(self) -> Any:
        """The answer where it is only the integer key, which is stored as it was given."""
        auto_field = self.query.get_meta().auto_field
        asked = self.returning_fields or ()
        if auto_field is None or len(asked) != 1 or asked[0].column != auto_field.column:
            return None
        if self._keys:
            return [(key,) for key in self._keys]
        assert self._rows
        fields, rows = self._rows
        place = [field.column for field in fields].index(auto_field.column)
        keys = [row[place] for row in rows]
        return [(key,) for key in keys] if all(type(key) is int for key in keys) else None

    def _answer(self, operations: tuple[BlindInsert, ...], verdict: Verdict) -> Any:
        """What a blind insert gives to user code."""
        if not self.returning_fields:
            return []
        table = operations[0].table
        answer = self._known_keys()
        if answer is None:
            order = blind.returned_order(table, [field.column for field in self.returning_fields])
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


def _nothing_but_values(fields: Sequence[Any], value_rows: Sequence[Sequence[Any]]) -> bool:
    """Whether Django cannot but write a placeholder for each value; False where it has to be asked."""
    if any(map(_has_placeholder, map(type, fields))):
        return False
    return all(PLAIN.issuperset(map(type, row)) for row in value_rows)


@lru_cache(maxsize=1_000)
def _has_placeholder(field: type) -> bool:
    """Whether fields of this type may write their own placeholders, however Django calls that."""
    return any("placeholder" in name for name in dir(field))


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
        autocommit = replication.in_true_autocommit()
        try:
            made = self.as_sql()
        except EmptyResultSet:
            return execute(result_type)
        if not autocommit:
            self._made = made
            return self._in_block(result_type, lambda: self._operation(read, *made), execute)
        for _ in range(SCHEMA_ATTEMPTS):
            operation = self._operation(read, *made)
            if operation is None:
                break
            verdict = commit.propose_blind(replication, (operation,))
            if verdict is not None:
                return verdict.row_count if result_type == ROW_COUNT else 0
        self._made = made
        return execute(result_type)

    def _in_block(self, result_type: str, operation: Callable[[], Any], execute: Any) -> Any:
        replication: Replication = self.connection.replication
        row_count = execute(result_type)
        if row_count == 0 and operation() is not None and replication.renew_view():
            row_count = execute(result_type)
        if row_count and result_type == ROW_COUNT and replication.may_be_only_statement():
            found = operation()
            if found is not None:
                replication.note_blind_candidate(replace(found, expected_rows=row_count))
        return row_count

    def _operation(self, read: Any, sql: str, parameters: Any) -> Any:
        """The statement as a blind operation; None if it is none."""
        meta = self.query.get_meta()
        quoted = self.connection.replication.quoted(meta.db_table)
        if quoted is None or quoted.source.columns[quoted.source.key[0]] != meta.pk.column:
            return None
        return read(quoted, sql, parameters)


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
