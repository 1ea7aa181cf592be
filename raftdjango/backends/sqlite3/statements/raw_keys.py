"""Keys for SQL that leaves them to SQLite.

SQLite counts on from the largest key that a table has or had.  So its counter is raised first, in the
transaction that the statement runs in and that undoes it, to right before a block of keys that is
nobody else's and lies behind all that is in use: what SQLite chooses next is of that block.  How many
keys a statement needs is read in its text where that lists rows without keys.  Where a query gives them,
or some rows have keys of their own, a statement that left its block is undone and executed again.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

from raftdjango.backends.sqlite3.statements.inserts import Key, is_null, read_insert, read_keys
from raftdjango.backends.sqlite3.statements.key_source import (
    LEASE_UNDER_LOCK_S,
    behind_all,
    largest_local_key,
    raise_local_counter,
)
from raftdjango.exceptions import ClusterUnavailable, NotReplicable
from raftdjango.writeset.rows import INTEGER_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftdjango.backends.sqlite3.base import DatabaseWrapper
    from raftdjango.backends.sqlite3.capture.tables import TableSpec

BLOCK_MIN, BLOCK_MAX = 16, 1024
"""Keys that a block sets aside for a table at a time, unless one statement needs more: twice as many
each time."""
_ALIASES = frozenset({"rowid", "oid", "_rowid_"})
"""SQLite's own names of the key, where no column has them."""


class Keyless(NamedTuple):
    """A statement that may have SQLite choose keys."""

    spec: TableSpec
    rows: int | None
    """That it writes at most, all without a key; None if it has to be executed to know."""
    own_keys: bool
    """Whether some rows may have one."""


def keyless(
    sql: str, params: Any, *, many: bool, spec_of: Callable[[str], TableSpec]
) -> Keyless | None:
    """Whether SQLite may choose keys of an AUTOINCREMENT table for it."""
    insert = read_insert(sql)
    if insert is None:
        return None
    try:
        spec = spec_of(insert.table)
    except NotReplicable:
        return None
    if not spec.autoincrement or spec.rowid_key is None:
        return None
    columns = insert.columns or tuple(name.lower() for name in spec.table.columns)
    place = _place_of_key(spec, columns)
    keys = read_keys(sql, insert, place, len(columns))
    if keys is None:
        return Keyless(spec, None, own_keys=place is not None)
    executions = params if many else [params]
    if place is None:
        return Keyless(spec, len(keys) * len(executions), own_keys=False)
    return _with_keys(spec, keys, executions)


def _place_of_key(spec: TableSpec, columns: Sequence[str]) -> int | None:
    assert spec.rowid_key is not None
    own = {name.lower() for name in spec.table.columns}
    names = {spec.rowid_key.lower(), *(_ALIASES - own)}
    return next((place for place, name in enumerate(columns) if name in names), None)


def _with_keys(spec: TableSpec, keys: Sequence[Key], executions: Sequence[Any]) -> Keyless | None:
    """The same where rows list a key, which may be NULL."""
    null = {is_null(key, params) for params in executions for key in keys}
    if null <= {False}:
        return None
    if null == {True}:
        return Keyless(spec, len(keys) * len(executions), own_keys=False)
    return Keyless(spec, None, own_keys=True)


class Reservation:
    """The keys from which SQLite chooses for one statement.

    To be made and used in the transaction that the statement runs in, with the write lock.
    """

    def __init__(self, connection: DatabaseWrapper, keyless: Keyless) -> None:
        self._connection = connection
        self._replication = connection.replication
        self._keyless = keyless
        self._enlarged = False
        count = keyless.rows or 1
        last = self._last()
        at_hand = self._at_hand()
        if last + 1 in at_hand and at_hand.stop - last - 1 >= count:
            self._keys = at_hand
            return
        if not self._replication.in_autocommit():
            count = max(count, BLOCK_MIN, min(2 * len(at_hand), BLOCK_MAX))
        self._choose_from(self._lease(count, last))

    def execute(self, execute: Callable[[], None], undo: Callable[[], None]) -> None:
        """Execute a statement; where SQLite has chosen other keys, `undo` it, and again with more."""
        while missing := self._missing_after(execute):
            undo()
            if self._keyless.own_keys or self._enlarged:
                # Whatever keys of their own rows have, SQLite counts on from those.
                self._choose_from(self._behind_all())
            else:
                self._choose_from(self._lease(missing, self._last()))
            self._enlarged = True

    def _missing_after(self, execute: Callable[[], None]) -> int:
        """How many keys it needs, if these were not enough."""
        try:
            execute()
        except sqlite3.IntegrityError:
            # The rows of an OR FAIL stay.
            if missing := self._missing():
                return missing
            raise
        return self._missing()

    def _missing(self) -> int:
        last = self._last()
        return last + 1 - self._keys.start if last >= self._keys.stop else 0

    def _last(self) -> int:
        spec = self._keyless.spec
        assert spec.rowid_key is not None
        return largest_local_key(self._connection.connection, spec.name, spec.rowid_key)

    def _at_hand(self) -> range:
        kept = self._replication.speculation.block.raw_keys
        return kept.get(self._keyless.spec.name, range(0))

    def _choose_from(self, keys: range) -> None:
        table = self._keyless.spec.name
        raise_local_counter(self._connection, table, keys.start - 1)
        self._replication.speculation.block.raw_keys[table] = self._keys = keys

    def _lease(self, count: int, above: int) -> range:
        """Keys behind `above`: of the process, of the node, or as `draw_keys` chooses without."""
        replication = self._replication
        if replication.has_changed_schema():
            return self._behind_all()
        try:
            keys = replication.allocator.take_above(
                replication.client,
                self._keyless.spec.name,
                count,
                above=above,
                timeout_s=LEASE_UNDER_LOCK_S,
                version=replication.speculation.block.schema_version,
            )
        except ClusterUnavailable:
            return self._behind_all()
        return keys if len(keys) >= count and keys.start > above else self._behind_all()

    def _behind_all(self) -> range:
        """As many as there are: nobody else may have been given any when this is committed."""
        spec = self._keyless.spec
        assert spec.rowid_key is not None
        return range(behind_all(self._connection, spec.name, spec.rowid_key), INTEGER_MAX)
