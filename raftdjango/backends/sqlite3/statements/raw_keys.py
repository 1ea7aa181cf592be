"""Keys for SQL that leaves them to SQLite.

SQLite counts on from the largest key that a table has or had.  So its counter is raised first, in the
transaction that the statement runs in and that undoes it, to right before a block of keys that is
nobody else's and lies behind all that is in use: what SQLite chooses next is of that block.  How many
keys a statement needs is read in its text where that lists rows without keys.  Where a query gives them,
or some have keys of their own, the statement is executed, the keys chosen are counted, and it is undone
and executed again if there were any.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

from raftdjango.backends.sqlite3.statements.inserts import Key, is_null, read_insert, read_keys
from raftdjango.backends.sqlite3.statements.key_source import (
    LEASE_UNDER_LOCK_S,
    behind_all,
    largest_local_key,
    largest_local_row,
    set_local_counter,
)
from raftdjango.exceptions import ClusterUnavailable, NotReplicable
from raftdjango.writeset.rows import INTEGER_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftdjango.backends.sqlite3.base import DatabaseWrapper
    from raftdjango.backends.sqlite3.capture.tables import TableSpec
    from raftdjango.backends.sqlite3.transactions.block import Block

BLOCK_MIN, BLOCK_MAX = 16, 1024
"""Keys that a block sets aside for a table at a time, unless one statement needs more: twice as many
each time."""
FAR_ABOVE = 2**52
"""Where rows are counted that SQLite chooses keys for."""
LEASED_MAX = 2**20
"""More keys at a time no node gives."""
_ALIASES = frozenset({"rowid", "oid", "_rowid_"})
"""SQLite's own names of the key, where no column has them."""


class Keyless(NamedTuple):
    """A statement that may have SQLite choose keys."""

    spec: TableSpec
    rows: int | None
    """That it writes at most, all without a key; None if it has to be executed to know."""


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
        return Keyless(spec, None)
    executions = params if many else [params]
    if place is None:
        return Keyless(spec, len(keys) * len(executions))
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
        return Keyless(spec, len(keys) * len(executions))
    return Keyless(spec, None)


class Reservation:
    """The keys from which SQLite chooses for one statement.

    To be made and used in the transaction that the statement runs in, with the write lock.
    """

    def __init__(self, connection: DatabaseWrapper, keyless: Keyless) -> None:
        self._connection = connection
        self._replication = connection.replication
        self._keyless = keyless
        self._keys = range(0)

    def execute(self, execute: Callable[[], None]) -> None:
        """Execute a statement of which it is known how many keys it takes."""
        assert self._keyless.rows is not None
        self._reserve(self._keyless.rows)
        execute()

    def execute_counted(self, execute: Callable[[], None], undo: Callable[[], None]) -> None:
        """Execute one that has to be executed to know, and then undone."""
        try:
            count = self._count(execute)
        except sqlite3.IntegrityError:
            raise
        except BaseException:
            undo()
            raise
        if count == 0:
            return
        undo()
        if count is None:
            self._choose_from(self._behind_all())
        else:
            self._reserve(count)
        try:
            execute()
        except sqlite3.IntegrityError:
            if self._suffice():
                raise
        if not self._suffice():
            # Chance had it write more.
            undo()
            self._choose_from(self._behind_all())
            execute()

    def _count(self, execute: Callable[[], None]) -> int | None:
        """Execute it, where what SQLite chooses lies far above; how many keys that were.

        None if that did not do, or if a row has a key of its own that lies above all others.
        """
        last = self._last()
        if last >= FAR_ABOVE:
            return None
        self._count_on_from(FAR_ABOVE)
        failure = None
        try:
            execute()
        except sqlite3.IntegrityError as error:
            if str(error).startswith("CHECK"):
                return None  # Perhaps because of these keys.
            failure = error
        raw = self._connection.connection
        chosen, own = self._last() - FAR_ABOVE, largest_local_row(raw, *self._place, FAR_ABOVE)
        if chosen:
            # The row that failed may have taken one as well.
            return chosen + (failure is not None) if own <= last else None
        self._count_on_from(max(own, last))
        if failure is not None:
            raise failure
        return 0

    def _reserve(self, count: int) -> None:
        """Have it choose from so many keys."""
        last = self._last()
        at_hand = self._block.raw_keys.get(self._keyless.spec.name, range(0))
        if last + 1 in at_hand and at_hand.stop - last - 1 >= count:
            self._keys = at_hand
            return
        if not self._replication.in_autocommit():
            count = max(count, BLOCK_MIN, min(2 * len(at_hand), BLOCK_MAX))
        self._choose_from(self._lease(count, last))

    def _suffice(self) -> bool:
        return self._last() < self._keys.stop

    def _last(self) -> int:
        """The largest key that the table has or had."""
        return largest_local_key(self._connection.connection, *self._place)

    @property
    def _place(self) -> tuple[str, str]:
        """Table and column."""
        spec = self._keyless.spec
        assert spec.rowid_key is not None
        return spec.name, spec.rowid_key

    def _choose_from(self, keys: range) -> None:
        self._count_on_from(keys.start - 1)
        self._block.raw_keys[self._keyless.spec.name] = self._keys = keys

    def _count_on_from(self, last: int) -> None:
        set_local_counter(self._connection, self._keyless.spec.name, last)

    @property
    def _block(self) -> Block:
        return self._replication.speculation.block

    def _lease(self, count: int, above: int) -> range:
        """Keys behind `above`: of the process, of the node, or as `draw_keys` chooses without."""
        replication = self._replication
        if replication.has_changed_schema() or count > LEASED_MAX:
            return self._behind_all()
        try:
            keys = replication.allocator.take_above(
                replication.client,
                self._keyless.spec.name,
                count,
                above=above,
                timeout_s=LEASE_UNDER_LOCK_S,
                version=self._block.schema_version,
            )
        except ClusterUnavailable:
            return self._behind_all()
        return keys if len(keys) >= count and keys.start > above else self._behind_all()

    def _behind_all(self) -> range:
        """As many as there are: if somebody else is given some of them first, this is not committed."""
        return range(behind_all(self._connection, *self._place), INTEGER_MAX)
