"""From the journal's rows to a write-set's operations, in the order in which things happened.

Nothing is compacted or reordered: each step was legal in the order captured, and no other order need
be (unique values that swap places, for one).  What foreign keys do to a row that is just being changed
is the exception: see `own_actions`.
"""

from __future__ import annotations

import datetime as dt
import os
from math import copysign
from typing import TYPE_CHECKING

from raftdjango.backends.sqlite3.capture.own_actions import in_order
from raftdjango.backends.sqlite3.capture.triggers import (
    DELETED,
    INSERTED,
    NEW,
    OLD,
    READ,
    STATEMENT,
)
from raftdjango.exceptions import NotReplicable
from raftdjango.writeset import (
    Delete,
    Insert,
    Operation,
    Pins,
    Row,
    Statement,
    Table,
    Update,
    ValidatedRead,
    Value,
    pack_row,
    row_digest,
    unpack_row,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from raftdjango.backends.sqlite3.capture.triggers import Capture


def statement_of(values: Row) -> Statement:
    """What travels as a statement, from its row."""
    sql, parameters, seed, now = values[:4]
    return Statement(str(sql), unpack_row(_bytes(parameters)), Pins(_bytes(seed), str(now)))


def operations(capture: Capture) -> tuple[Operation, ...]:
    """All that the journal holds."""
    return tuple(_operations(capture))


def changes_something(operation: Operation) -> bool:
    """Whether an operation is more than a row that was read for update."""
    return not isinstance(operation, ValidatedRead)


def _operations(capture: Capture) -> Iterator[Operation]:
    old: Row = ()
    for number, op, values in in_order(capture.entries(), capture.specs):
        if op == STATEMENT:
            yield statement_of(values)
            continue
        assert number is not None
        table = capture.specs[number].table
        if op == READ:
            key_length = len(table.key)
            yield ValidatedRead(table, values[:key_length], _bytes(values[key_length]))
            continue
        row = values[: len(table.columns)]
        if op == OLD:
            old = row
        elif op == NEW:
            yield _update(table, old, row)
        elif op == INSERTED:
            _key(table, row)
            yield Insert(table, row)
        elif op == DELETED:
            yield Delete(table, _key(table, row), row_digest(row))


def _update(table: Table, old: Row, new: Row) -> Update:
    """An update; with no changes when it wrote what was there, which is then a validated read."""
    _key(table, new)
    return Update(table, _key(table, old), row_digest(old), changes_between(old, new))


def changes_between(old: Row, new: Row) -> tuple[tuple[int, Value], ...]:
    """By place, the values that are stored otherwise in the new row."""
    return tuple(
        (position, value)
        for position, (before, value) in enumerate(zip(old, new, strict=True))
        # The most of `same()`, without calling it.
        if type(before) is not type(value)
        or before != value
        or (type(value) is float and not same(before, value))
    )


def _key(table: Table, row: Row) -> Row:
    key = table.key_of(row)
    if None in key:
        raise NotReplicable(
            f'Not replicable: a row of "{table.name}" has NULL in its primary key, so that nothing '
            "names it. Give the key a value."
        )
    return key


def _bytes(value: Value) -> bytes:
    assert isinstance(value, bytes)
    return value


def same(one: Value, other: Value) -> bool:
    """Whether SQLite would store both alike: 1, 1.0 and -0.0 from 0.0 differ."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, float) and isinstance(other, float) and one == 0:
        return copysign(1, one) == copysign(1, other)
    return True


def new_pins() -> Pins:
    """What `random()` and `'now'` shall mean in a statement."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return Pins(os.urandom(16), now)


def note_statement(capture: Capture, sql: str, parameters: Sequence[Value], pins: Pins) -> None:
    """Put a statement into the journal."""
    capture.note(STATEMENT, 0, (sql, pack_row(parameters), pins.random_seed, pins.now))


def note_read(capture: Capture, table: str, key: Row, digest: bytes) -> None:
    """Put a validated read into the journal; an empty digest says that the row is absent."""
    number = capture.number_of(table)
    capture.note(READ, number, (*key, digest))
