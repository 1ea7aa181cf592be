"""Keys for SQL that leaves them to SQLite.

SQLite counts on from the largest key that a table has or had.  So its counter is raised first, in the
transaction that the statement runs in and that undoes it, to right before a block of keys that is
nobody else's and lies behind all that is in use: what SQLite chooses next is of that block.  How many
keys a statement needs is counted from its text where it lists its rows; where a query gives them, a
statement that runs out of its block is undone and executed again with one that is large enough.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from raftdjango.backends.sqlite3.statements.key_source import (
    ALLOCATOR,
    LEASE_UNDER_LOCK_S,
    largest_local_key,
    next_local_key,
)
from raftdjango.conf import get_settings
from raftdjango.exceptions import ClusterUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftdjango.backends.sqlite3.base import DatabaseWrapper
    from raftdjango.backends.sqlite3.capture.tables import TableSpec

RAW_BLOCK_MIN, RAW_BLOCK_MAX = 16, 1024
"""Keys that a transaction sets aside for a table at a time, unless one statement needs more: twice as
many each time."""

_NAME = r'(?:"(?:[^"]|"")+"|`(?:[^`]|``)+`|\[[^\]]+\]|\w+)'
_INSERT = re.compile(
    rf"\b(?:INSERT(?:\s+OR\s+\w+)?|REPLACE)\s+INTO\s+(?:{_NAME}\s*\.\s*)?(?P<table>{_NAME})"
    r"(?:\s+AS\s+\w+)?\s*(?:\((?P<columns>[^)]*)\)\s*)?",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_LISTED = re.compile(r"(?:VALUES\b(?!.*\b(?:UNION|EXCEPT|INTERSECT)\b)|DEFAULT\b)", re.I | re.S)
_ONE_ROW_OF_PARAMETERS = re.compile(r"VALUES\s*\((?:\s*(?:%s|\?)\s*,?)+\)", re.IGNORECASE)
_MAY_BE_NULL = re.compile(r"\b(?:NULL|SELECT|DEFAULT)\b", re.IGNORECASE)


class Insert(NamedTuple):
    """An INSERT, as far as keys are concerned."""

    table: str
    columns: tuple[str, ...]
    """In lower case; none if it does not list them."""
    rows: int | None
    """That one execution writes at most; None if a query gives them."""
    placeholders: bool
    """Whether its rows consist of parameters and nothing else."""
    may_be_null: bool
    """Whether a NULL may stand among what it writes, parameters aside."""


class Keyless(NamedTuple):
    """A statement that has SQLite choose keys."""

    table: str
    rows: int | None


def keyless(
    sql: str, params: Any, *, many: bool, spec_of: Callable[[str], TableSpec | None]
) -> Keyless | None:
    """Whether SQLite may choose keys of an AUTOINCREMENT table for it."""
    insert = _read(sql)
    if insert is None:
        return None
    spec = spec_of(insert.table)
    if spec is None or not spec.autoincrement or spec.rowid_key is None:
        return None
    key = spec.rowid_key.lower()
    if key in insert.columns and not _leaves_out(
        insert, insert.columns.index(key), params if many else [params]
    ):
        return None
    rows = insert.rows
    return Keyless(spec.name, rows * len(params) if many and rows is not None else rows)


def _leaves_out(insert: Insert, position: int, executions: Sequence[Any]) -> bool:
    """Whether one of the keys that it lists may be NULL."""
    if insert.may_be_null:
        return True
    for params in executions:
        if not params:
            continue
        if insert.placeholders and isinstance(params, (tuple, list)):
            params = params[position :: len(insert.columns)]
        values = params.values() if isinstance(params, dict) else params
        if any(value is None for value in values):
            return True
    return False


@lru_cache(maxsize=512)
def _read(sql: str) -> Insert | None:
    found = _INSERT.search(sql)
    if found is None:
        sql = _COMMENT.sub(" ", sql)
        found = _INSERT.search(sql)
    if found is None:
        return None
    columns = tuple(_plain(name).lower() for name in (found["columns"] or "").split(",") if name)
    listed = _LISTED.match(sql, found.end())
    return Insert(
        table=_plain(found["table"]),
        columns=columns,
        # Every row has its parenthesis; others among them do no harm.
        rows=max(sql.count("(", found.end()), 1) if listed else None,
        placeholders=_ONE_ROW_OF_PARAMETERS.match(sql, found.end()) is not None,
        may_be_null=_MAY_BE_NULL.search(sql, found.end()) is not None,
    )


def _plain(name: str) -> str:
    """An identifier without its quotes."""
    name = name.strip()
    if name[:1] in {'"', "`"}:
        return name[1:-1].replace(2 * name[0], name[0])
    return name[1:-1] if name[:1] == "[" else name


def reserve(connection: DatabaseWrapper, table: str, count: int) -> None:
    """Have SQLite choose the next `count` keys of `table` from a block that is nobody else's.

    Call it in the transaction that the statement runs in, with the write lock.
    """
    block = connection.replication.speculation.block
    last = largest_local_key(connection.connection, table)
    at_hand = block.raw_keys.get(table, range(0))
    if last + 1 in at_hand and at_hand.stop - last - 1 >= count:
        return
    count = max(count, RAW_BLOCK_MIN, min(2 * len(at_hand), RAW_BLOCK_MAX))
    keys = _lease(connection, table, count, last)
    _raise_sequence(connection, table, keys.start - 1)
    block.raw_keys[table] = keys


def needed(connection: DatabaseWrapper, table: str) -> int:
    """How many keys the last statement took, if it ran out of its block; 0 if it did not."""
    keys = connection.replication.speculation.block.raw_keys[table]
    last = largest_local_key(connection.connection, table)
    return last + 1 - keys.start if last >= keys.stop else 0


def _lease(connection: DatabaseWrapper, table: str, count: int, above: int) -> range:
    """Keys behind `above`: of the node, or as `draw_keys` chooses where none is to be had."""
    replication = connection.replication
    locked = replication.holds_write_lock()
    if not replication.has_changed_schema():
        try:
            keys = replication.client.lease_keys(
                table,
                count,
                timeout_s=LEASE_UNDER_LOCK_S if locked else get_settings().commit_timeout_s,
                after=replication.speculation.block.schema_version,
                above=above,
            )
            if len(keys) >= count and keys.start > above:
                return keys
        except ClusterUnavailable:
            if not locked:
                raise
        replication.speculation.depends_on_row(ALLOCATOR, (table,))
    first = next_local_key(connection.connection, table, "rowid")
    return range(first, first + count)


def _raise_sequence(connection: DatabaseWrapper, table: str, last: int) -> None:
    replication = connection.replication
    raw = connection.connection
    # Outside of the transaction, which may have been rolled back meanwhile, it would be committed.
    with replication.speculation.undisturbed(), replication.capture.guard.unlocked():
        raised = raw.execute(
            "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (last, table)
        )
        if not raised.rowcount:
            raw.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, last))
