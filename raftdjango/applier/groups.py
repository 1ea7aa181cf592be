"""Which entries may share a COMMIT, and which are so little work that a caller may wait for them."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from raftdjango.applier.faults import EnvironmentFault, Refused
from raftdjango.applier.outcomes import PRUNE_EVERY
from raftdjango.writeset import (
    BlindDelete,
    BlindUpdate,
    Delete,
    MalformedCommand,
    Statement,
    Update,
    WriteSet,
    decode_command,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from raftdjango.applier.entries import LogEntry
    from raftdjango.applier.operations import Operations
    from raftdjango.writeset import Command, Operation

    Group = list[tuple[LogEntry, Command | None]]

LIGHT_ROWS_MAX = 64
"""Rows that light entries may write or certify, together."""
LIGHT_VALUE_BYTES_MAX = 64 * 1024
"""Longest value, and longest row to be written, that SQLite may meet at them."""


def groups(entries: Sequence[LogEntry]) -> Iterator[tuple[Group, bool | None]]:
    """Entries that may share a COMMIT, in order.  With an entry that may not comes what SQLite's
    foreign keys must be for it; None: they are off and the entries are looked after here.
    """
    group: Group = []
    for entry in entries:
        try:
            command = None if entry.command is None else decode_command(entry.command)
        except MalformedCommand as error:
            if group:
                yield group, None
            raise EnvironmentFault(f"Entry {entry.index} cannot be applied: {error}") from error
        body = command.body if command is not None else None
        if isinstance(body, WriteSet) and (
            body.foreign_keys_off or any(type(each) is Statement for each in body.operations)
        ):
            if group:
                yield group, None
            yield [(entry, command)], not body.foreign_keys_off
            group = []
        else:
            group.append((entry, command))
    if group:
        yield group, None


def light_group(entries: Sequence[LogEntry], operations: Operations) -> Group | None:
    """The entries, if one COMMIT does and the work is bounded by rows; else None.

    It is not where old outcomes are pruned, the schema is to be read anew, or keys are removed:
    SQLite looks for children of a key in whatever way it finds.  How long rows are that exist
    already turns out only when they are met: see `light_bounds`.
    """
    light: Group = []
    rows = 0
    try:
        for group, foreign_keys in groups(entries):
            if foreign_keys is not None:
                return None
            light = group
        for entry, command in light:
            if entry.index % PRUNE_EVERY == 0:
                return None
            if command is None or not isinstance(command.body, WriteSet):
                continue
            write_set = command.body
            if not operations.knows_schema or _is_unbounded(write_set):
                return None
            rows += sum(map(_row_count, write_set.operations))
            if rows > LIGHT_ROWS_MAX:
                return None
            if any(_removes_keys(each, operations) for each in write_set.operations):
                return None
    except (EnvironmentFault, Refused):
        return None  # As the full way will say.
    return light or None


@contextmanager
def light_bounds(connection: sqlite3.Connection, operations: Operations) -> Iterator[None]:
    """Have SQLite raise an error (`is_too_long`) rather than touch what is longer than light."""
    before = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LIGHT_VALUE_BYTES_MAX)
    operations.bounded = True
    try:
        yield
    finally:
        operations.bounded = False
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, before)


def _is_unbounded(write_set: WriteSet) -> bool:
    """Whether tables are compared, or queries repeated: how much work that is nobody knows."""
    reads = write_set.reads
    if reads is not None and (reads.queries or len(reads.tables) > LIGHT_ROWS_MAX):
        return True
    return bool(write_set.expected_digest)


def _row_count(operation: Operation) -> int:
    return len(operation.keys) if isinstance(operation, (BlindUpdate, BlindDelete)) else 1


def _removes_keys(operation: Operation, operations: Operations) -> bool:
    """Whether rows that others may refer to lose a key."""
    if isinstance(operation, (Delete, BlindDelete)):
        return bool(operations.plan(operation.table).incoming)
    if isinstance(operation, (Update, BlindUpdate)):
        plan = operations.plan(operation.table)
        own = len(
            plan.table.columns
        )  # Behind them are generated columns: anything may change those.
        changed = {place for place, _ in operation.changes} if plan.incoming else ()
        keys = (place for link in plan.incoming for place in link.positions)
        return any(place in changed or place >= own for place in keys)
    return False
