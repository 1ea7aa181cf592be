"""What leases of keys, and the migration lock, will come to, told before they are applied.

A block that has the write lock may need keys of another table.  Their lease could not be applied
before the block ends, and the block would wait for the lease.  But a lease is a function of the
database and of the entries before it, and the database can be read while somebody else has the write
lock.  So once an entry is committed its verdict is known, if nothing before it can change it; a
crash in between does no harm, since the log holds the entry, and applying it says the same.

What entries in between will do is not known without applying them: each may come to nothing.  So a
lease is foretold only where it begins at the same key either way.

The migration lock is changed by nothing but its own commands, so all of them are foretold.  A long
migration, which has the write lock, thus neither waits for the renewal of its own migration lock,
nor loses the write lock to it or to others who ask for theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftdjango.applier.commands import lock_holder
from raftdjango.applier.entries import Applied
from raftdjango.applier.faults import Refused
from raftdjango.applier.keys import first_key, leasable, next_key, sequences
from raftdjango.applier.schema import ACTIONS
from raftdjango.writeset import (
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    Insert,
    KeyLease,
    MalformedCommand,
    MigrationLock,
    Statement,
    Update,
    Verdict,
    VerdictKind,
    WriteSet,
    decode_command,
)
from raftdjango.writeset.chosen_keys import keys_chosen_by
from raftdjango.writeset.rows import INTEGER_MAX

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from raftdjango.applier.entries import LogEntry
    from raftdjango.applier.outcomes import Outcomes
    from raftdjango.applier.schema import Schema
    from raftdjango.writeset import Command, Operation, Value

LOOK_AHEAD_BYTES_MAX = 256 * 1024
"""Of entries that are looked at; behind them nothing is foretold."""


def foresee(
    cursor: sqlite3.Cursor, schema: Schema, outcomes: Outcomes, entries: Iterable[LogEntry]
) -> list[Applied]:
    """The outcomes among entries that follow the applied index, as far as they are certain."""
    ahead = _Ahead(cursor, schema, outcomes)
    told: list[Applied] = []
    size = 0
    for entry in entries:
        if entry.command is None:
            continue
        size += len(entry.command)
        try:
            if size > LOOK_AHEAD_BYTES_MAX:
                break
            command = decode_command(entry.command)
            if isinstance(command.body, (KeyLease, MigrationLock)):
                verdict = ahead.outcome(command, command.body, entry.time_ms)
                told.append(Applied(entry.index, command.proposal_id, verdict, entry.time_ms))
            else:
                ahead.note(command)
        except (_Unknown, Refused, MalformedCommand):
            break
    return told


class _Unknown(Exception):
    """What comes behind an entry cannot be told before it is applied."""


class _Ahead:
    """The allocator as it will be, and what may have happened to keys by then."""

    def __init__(self, cursor: sqlite3.Cursor, schema: Schema, outcomes: Outcomes) -> None:
        self._cursor = cursor
        self._schema = schema
        self._outcomes = outcomes
        self._verdicts: dict[bytes, Verdict] = {}
        self._others: set[bytes] = set()
        """Ids of other commands."""
        self._next_keys: dict[str, int] = {}
        self._reach: dict[str, int] = {}
        """By table: the largest key that rows may be given."""
        self._writes = False
        self._lock: tuple[bytes | None, int] | None = None
        """Holder of the migration lock, and until when; None: as the database has it."""

    def outcome(self, command: Command, body: KeyLease | MigrationLock, time_ms: int) -> Verdict:
        """The verdict; as `Applier` reaches it."""
        proposal_id, expires_at_ms = command.proposal_id, command.expires_at_ms
        verdict = self._verdicts.get(proposal_id) or self._outcomes.find(proposal_id)
        if verdict is None:
            # Its outcome may be another one's, or be forgotten at once.
            if proposal_id in self._others or not expires_at_ms:
                raise _Unknown
            if time_ms > expires_at_ms:
                return Verdict(VerdictKind.EXPIRED)
            if isinstance(body, KeyLease):
                verdict = Verdict(VerdictKind.APPLIED, first_key=self._first_key(body))
            else:
                verdict = Verdict(VerdictKind.APPLIED, granted=self._granted(body, time_ms))
        self._verdicts[proposal_id] = verdict
        return verdict

    def _first_key(self, lease: KeyLease) -> int:
        schema = self._schema
        declared = leasable(schema, lease.table)
        name = declared.table.name
        following = self._next_keys.get(name) or next_key(self._cursor, name)
        first = first_key(schema, declared, lease.count, following)
        if self._writes:
            # Rows may go meanwhile, SQLite's own counter does not fall but by statements.
            certain = max(following, sequences(schema).get(name, 0) + 1)
            if first != certain or self._reach.get(name.lower(), 0) >= first:
                raise _Unknown
        self._next_keys[name] = first + lease.count
        return first

    def _granted(self, command: MigrationLock, time_ms: int) -> bool:
        holder, until_ms = self._lock or lock_holder(self._cursor)
        if command.release:
            granted = holder == command.holder
            self._lock = (None, 0) if granted else (holder, until_ms)
        elif command.renew:
            granted = holder == command.holder
            self._lock = (holder, command.until_ms) if granted else (holder, until_ms)
        else:
            granted = holder in (None, command.holder) or until_ms < time_ms
            self._lock = (command.holder, command.until_ms) if granted else (holder, until_ms)
        return granted

    def note(self, command: Command) -> None:
        """Another entry comes first."""
        self._others.add(command.proposal_id)
        if isinstance(command.body, WriteSet):
            self._writes = True
            for operation in command.body.operations:
                self._note(operation)

    def _note(self, operation: Operation) -> None:
        if isinstance(operation, Statement):
            raise _Unknown
        table = operation.table
        name = table.name.lower()
        key = table.key[0]
        if name == "sqlite_sequence" or keys_chosen_by(operation):
            raise _Unknown
        if isinstance(operation, Insert):
            self._reaches(name, operation.row[key])
        elif isinstance(operation, BlindInsert):
            if key not in operation.columns:
                raise _Unknown
            self._reaches(name, operation.values[operation.columns.index(key)])
        elif isinstance(operation, (Update, BlindUpdate)):
            for place, value in operation.changes:
                if place == key:
                    self._reaches(name, value)
        if isinstance(operation, (BlindUpdate, BlindDelete)) and self._acts_on_others(name):
            raise _Unknown

    def _reaches(self, name: str, key: Value) -> None:
        # Of text SQLite may make a number.
        reach = key if type(key) is int else INTEGER_MAX
        self._reach[name] = max(reach, self._reach.get(name, 0))

    def _acts_on_others(self, name: str) -> bool:
        """Whether a foreign key changes rows of other tables along with those of this one."""
        return any(
            link.on_delete in ACTIONS or link.on_update in ACTIONS
            for link in self._schema.incoming(name)
        )
