"""Row operations and statements of one write-set, in order, against the database.

Whatever does not hold raises `Refused` with the verdict; undoing is the caller's part.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from raftdjango.applier.actions import check_restrictions, delete_with_actions, update_with_actions
from raftdjango.applier.faults import Refused, is_same_everywhere, is_too_long, message_of
from raftdjango.applier.keys import check_unused, highest_key, lease_used
from raftdjango.applier.plans import Plan
from raftdjango.applier.references import MESSAGE, References, sort_key
from raftdjango.applier.schema import ACTIONS, Schema
from raftdjango.writeset import (
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    Delete,
    Insert,
    Operation,
    Statement,
    Table,
    Update,
    ValidatedRead,
    Verdict,
    VerdictKind,
    row_digest,
)
from raftdjango.writeset.chosen_keys import keys_chosen_by
from raftdjango.writeset.rows import INTEGER_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftdjango.writeset import Row, Value, WriteSet

CHANGED = "changed"
GONE = "gone"
PRESENT = "present"
ROWS = "rows"
SCHEMA = "schema"
# Messages of conflicts are part of stored verdicts: words for programs, not for people.

PLANS_MAX = 4096

_CAPTURED = (Insert, Update, Delete, ValidatedRead)


def conflict(table: Table, key: Row, message: str) -> Refused:
    """The verdict that somebody else was faster."""
    return Refused(Verdict(VerdictKind.CONFLICT, table=table.name, key=key, message=message))


class Operations:
    """Executes the operations of one write-set after another."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        schema: Schema,
        run_statement: Callable[[Statement], int],
    ) -> None:
        self._cursor = connection.cursor()
        self._cursor.row_factory = None
        self._schema = schema
        self._run_statement = run_statement
        self._plans: dict[Table, Plan] = {}
        self._generation = -1
        self.references = References()
        self.row_count = 0
        self.rows: list[Row] = []
        self.changed: set[str] = set()
        """Tables of which the write-set has changed rows so far."""
        self._keys_chosen: set[str] = set()
        """Tables of which the write-set gives keys without a lease."""
        self._statements = False
        """Whether it has statements, behind which all leases are void."""
        self.bounded = False
        """Values may be shorter for now than they ever may: what is too long gets no verdict."""
        self._methods: dict[type, Callable[..., None]] = {
            Insert: self._inserts,
            BlindInsert: self._blind_inserts,
            Update: self._update,
            Delete: self._delete,
            ValidatedRead: self._read,
            Statement: self._statement,
            BlindUpdate: self._blind_update,
            BlindDelete: self._blind_delete,
        }

    def run(self, write_set: WriteSet) -> Verdict:
        """Make all changes and check all foreign keys; the verdict, or `Refused`."""
        self.references.clear()
        self.row_count, self.rows = 0, []
        self.changed.clear()
        self._keys_chosen.clear()
        operations = write_set.operations
        self._statements = any(type(operation) is Statement for operation in operations)
        position = 0
        while position < len(operations):
            first = operations[position]
            kind = type(first)
            try:
                method, end = self._methods[kind], position + 1
                if kind is Insert or kind is BlindInsert:
                    end = _end_of_run(operations, position)
                    method(operations[position:end])
                else:
                    method(first)
                position = end
            except (sqlite3.Error, sqlite3.Warning, UnicodeError, OverflowError) as error:
                if not is_same_everywhere(error) or (self.bounded and is_too_long(error)):
                    raise
                raise Refused(_verdict(first, error)) from error
        for name in sorted(self._keys_chosen):
            lease_used(self._cursor, self._schema, name)
        if not write_set.foreign_keys_off:
            self._check_references(operations)
        if self.row_count or self.rows:
            return Verdict(VerdictKind.APPLIED, row_count=self.row_count, rows=tuple(self.rows))
        return _APPLIED

    @property
    def knows_schema(self) -> bool:
        """Whether foreign keys were read since the schema changed last: that takes its time."""
        return self._schema.is_read

    def plan(self, table: Table) -> Plan:
        """How to work on a table, kept until the schema changes."""
        if self._generation != self._schema.generation:
            self._plans.clear()
            self._generation = self._schema.generation
        plan = self._plans.get(table)
        if plan is None:
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
            plan = self._plans[table] = Plan(table, self._schema)
        return plan

    def is_one_step(self, write_set: WriteSet) -> bool:
        """Is the whole write-set one SQL statement that needs no undoing, failed or not?"""
        if len(write_set.operations) != 1 or write_set.expected_digest:
            return False
        operation = write_set.operations[0]
        if isinstance(operation, Statement):
            return False
        if getattr(operation, "expected_rows", None) is not None:
            return False
        if isinstance(operation, (BlindUpdate, BlindDelete)) and len(operation.keys) != 1:
            return False
        return not self.plan(operation.table).has_foreign_keys

    def _check_references(self, operations: Sequence[Operation]) -> None:
        if violated := self.references.violation(self._cursor):
            captured = any(isinstance(operation, _CAPTURED) for operation in operations)
            kind = VerdictKind.CONSTRAINT_CONFLICT if captured else VerdictKind.INTEGRITY_ERROR
            raise Refused(Verdict(kind, table=violated.child, message=MESSAGE))

    # Captured ------------------------------------------------------------------------------------

    def _certify(self, plan: Plan, key: Row, before: bytes) -> Row:
        """The row of this key, which must be as the transaction read it."""
        rows = self._cursor.execute(plan.select_by_key, key).fetchall()
        if not rows:
            if before:
                raise conflict(plan.table, key, GONE)
            return ()
        if len(rows) > 1:
            # SQLite allows that where a part of the key is NULL.
            message = f"the key is not unique in table {plan.table.name}"
            kind = VerdictKind.OPERATIONAL_ERROR
            raise Refused(Verdict(kind, table=plan.table.name, key=key, message=message))
        row: Row = rows[0]
        if not before:
            raise conflict(plan.table, key, PRESENT)
        own = row[: len(plan.table.columns)] if plan.extra else row
        if row_digest(own) != before:
            raise conflict(plan.table, key, CHANGED)
        return row

    def _reread(self, plan: Plan, row: Row) -> Row:
        """A whole row with generated columns that foreign keys need, after it was written."""
        if not plan.extra:
            return row
        found = self._cursor.execute(plan.select_by_key, plan.table.key_of(row)).fetchone()
        return row if found is None else found

    def _inserts(self, operations: Sequence[Insert]) -> None:
        plan = self.plan(operations[0].table)
        if len(operations) == 1:
            self._cursor.execute(plan.insert_whole, operations[0].row)
        else:
            self._cursor.executemany(plan.insert_whole, [each.row for each in operations])
        self.changed.add(plan.table.name)
        if plan.outgoing:
            rows = [self._reread(plan, each.row) for each in operations]
            self.references.written(plan, rows)

    def _update(self, operation: Update) -> None:
        plan = self.plan(operation.table)
        old = self._certify(plan, operation.key, operation.before)
        if operation.changes:
            columns, values = zip(*operation.changes, strict=True)
            self._cursor.execute(plan.update(columns), (*values, *operation.key))
            self.changed.add(plan.table.name)
            if plan.has_foreign_keys:
                self.references.changed(plan, old, self._changed(plan, old, operation.changes))

    def _changed(self, plan: Plan, old: Row, changes: tuple[tuple[int, Value], ...]) -> Row:
        new = list(old)
        for position, value in changes:
            new[position] = value
        return self._reread(plan, tuple(new))

    def _delete(self, operation: Delete) -> None:
        plan = self.plan(operation.table)
        old = self._certify(plan, operation.key, operation.before)
        self._cursor.execute(plan.delete_by_key, operation.key)
        self.changed.add(plan.table.name)
        if plan.incoming:
            self.references.removed(plan, old)

    def _read(self, operation: ValidatedRead) -> None:
        if chosen := keys_chosen_by(operation):
            self._keys_chosen.add(chosen[0])
            check_unused(self._cursor, self._schema, *chosen, or_leased=not self._statements)
        else:
            self._certify(self.plan(operation.table), operation.key, operation.before)

    # Statements ----------------------------------------------------------------------------------

    def _statement(self, operation: Statement) -> None:
        try:
            self.row_count = self._run_statement(operation)
        finally:
            self._schema.refresh()

    # Blind ---------------------------------------------------------------------------------------

    def _blind_inserts(self, operations: Sequence[BlindInsert]) -> None:
        first = operations[0]
        plan = self.plan(first.table)
        self._check_key_choice(plan, operations)
        asked = (*(plan.table.columns[place] for place in first.returning), *first.returning_names)
        # Foreign keys among columns that are left to their defaults are learnt from the row itself.
        known = not plan.outgoing or plan.knows_references(first.columns)
        columns = () if known else (*plan.table.columns, *plan.extra)
        sql = plan.insert(first.columns, (*asked, *columns))
        self.changed.add(plan.table.name)
        self.row_count = 1
        if asked or columns:
            for each in operations:
                (row,) = self._cursor.execute(sql, each.values).fetchall()
                if asked:
                    self.rows.append(row[: len(asked)])
                if columns:
                    self.references.written(plan, (row[len(asked) :],))
        elif len(operations) == 1:
            self._cursor.execute(sql, first.values)
        else:
            self._cursor.executemany(sql, [each.values for each in operations])
        if plan.outgoing and known:
            rows = [plan.spread(each.columns, each.values) for each in operations]
            self.references.written(plan, rows)
        for each in operations:
            if each.expected_rows not in (None, 1):
                raise conflict(plan.table, (), ROWS)

    def _check_key_choice(self, plan: Plan, operations: Sequence[BlindInsert]) -> None:
        """Behind the highest key there is, SQLite draws one at random, or says the disk is full."""
        place, columns = plan.table.key[0], operations[0].columns
        if place in columns:
            at = columns.index(place)
            if all(each.values[at] is not None for each in operations):
                return
        declared = plan.declared
        if declared is None or not declared.integer_key:
            return
        if highest_key(self._schema, declared) + len(operations) > INTEGER_MAX:
            message = f"table {plan.table.name} has no keys left"
            raise Refused(
                Verdict(VerdictKind.OPERATIONAL_ERROR, table=plan.table.name, message=message)
            )

    def _blind_update(self, operation: BlindUpdate) -> None:
        plan = self.plan(operation.table)
        columns, values = zip(*operation.changes, strict=True)
        sql = plan.update(columns)
        count = 0
        for key in dict.fromkeys(operation.keys):
            if not plan.has_foreign_keys:
                count += self._cursor.execute(sql, (*values, *key)).rowcount
                continue
            old = self._cursor.execute(plan.select_by_key, key).fetchone()
            if old is not None:
                count += 1
                update_with_actions(self, plan, old, operation.changes)
        self._counted(operation, count)

    def _blind_delete(self, operation: BlindDelete) -> None:
        plan = self.plan(operation.table)
        count = 0
        keys = dict.fromkeys(operation.keys)
        # In SQLite's order, where it matters what is deleted first.
        for key in sorted(keys, key=sort_key) if plan.incoming else keys:
            if not plan.incoming:
                if self.bounded:
                    # DELETE gives back a row's pages without a look at its length.
                    self._cursor.execute(plan.select_by_key, key).fetchone()
                count += self._cursor.execute(plan.delete_by_key, key).rowcount
                continue
            old = self._cursor.execute(plan.select_by_key, key).fetchone()
            if old is not None:
                count += 1
                if any(link.foreign_key.on_delete in ACTIONS for link in plan.incoming):
                    delete_with_actions(self, plan, old)
                else:
                    self.delete_row(plan, old)
                    check_restrictions(self, plan, old)
        self._counted(operation, count)

    def _counted(self, operation: BlindUpdate | BlindDelete, count: int) -> None:
        self.row_count = count
        if count:
            self.changed.add(operation.table.name)
        if operation.expected_rows not in (None, count):
            key = operation.keys[0] if len(operation.keys) == 1 else ()
            raise conflict(operation.table, key, ROWS)

    # Single rows, for the actions of foreign keys ------------------------------------------------

    def delete_row(self, plan: Plan, old: Row) -> None:
        """Delete a row that was read whole."""
        self._cursor.execute(plan.delete_by_key, plan.table.key_of(old))
        self.changed.add(plan.table.name)
        self.references.removed(plan, old)

    def update_row(self, plan: Plan, old: Row, changes: tuple[tuple[int, Value], ...]) -> Row:
        """Change a row that was read whole; the new one, as stored."""
        columns, values = zip(*changes, strict=True)
        self._cursor.execute(plan.update(columns), (*values, *plan.table.key_of(old)))
        self.changed.add(plan.table.name)
        key = list(plan.table.key_of(old))
        for position, value in changes:
            if position in plan.table.key:
                key[plan.table.key.index(position)] = value
        new: Row = self._cursor.execute(plan.select_by_key, key).fetchone() or old
        self.references.changed(plan, old, new)
        return new

    def plan_of(self, name: str) -> Plan | None:
        """How to work on a table known by name alone."""
        declared = self._schema.table(name)
        return None if declared is None else self.plan(declared.table)

    def select(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """All rows of a query."""
        return self._cursor.execute(sql, parameters).fetchall()


_APPLIED = Verdict(VerdictKind.APPLIED)


def _end_of_run(operations: Sequence[Operation], start: int) -> int:
    """Where the inserts end that begin at `start` and that one SQL text serves."""
    first = operations[start]
    end = start + 1
    while end < len(operations) and _is_alike(first, operations[end]):
        end += 1
    return end


def _is_alike(first: Operation, other: Operation) -> bool:
    if isinstance(first, Insert):
        return isinstance(other, Insert) and other.table is first.table
    return (
        isinstance(first, BlindInsert)
        and isinstance(other, BlindInsert)
        and other.table is first.table
        and other.columns == first.columns
        and other.returning == first.returning
        and other.returning_names == first.returning_names
    )


def _verdict(operation: Operation, error: Exception) -> Verdict:
    """What an error that every node meets means for the kind of operation that met it."""
    table = getattr(operation, "table", None)
    name = table.name if table is not None else ""
    message = message_of(error)
    if not isinstance(error, sqlite3.IntegrityError):
        return Verdict(VerdictKind.OPERATIONAL_ERROR, table=name, message=message)
    if not isinstance(operation, _CAPTURED):
        return Verdict(VerdictKind.INTEGRITY_ERROR, table=name, message=message)
    # Which row it was is not known of several inserted at once.
    key = operation.key if isinstance(operation, (Update, Delete)) else ()
    return Verdict(VerdictKind.CONSTRAINT_CONFLICT, table=name, key=key, message=message)
