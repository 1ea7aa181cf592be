"""The journal: TEMP triggers of one connection note every changed row, in order, while it speculates.

The journal is a TEMP table, so it shares the fate of transaction, savepoint and failed statement.  TEMP
triggers belong to their connection: the applier never fires them, and the user's file holds nothing of
them.  Each row of the journal also breaks a DEFERRABLE foreign key, so SQLite itself refuses COMMIT,
and the RELEASE of an outermost savepoint, on a connection that changed something.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from raftdjango.backends.sqlite3.capture.guard import JOURNAL, Guard
from raftdjango.backends.sqlite3.capture.tables import TableSpec, quote, read_spec
from raftdjango.exceptions import NotReplicable
from raftdjango.writeset.pinning import Pinning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftdjango.backends.sqlite3.statements.blind import InsertShape, Quoted
    from raftdjango.backends.sqlite3.transactions.locked import LockedConnection
    from raftdjango.writeset import Row, Value

PARENT = "raftdjango_journal_parent"
TRIGGER_PREFIX = "raftdjango_capture_"
WIDTH_MIN = 32
TRIGGER_DEPTH = 1_000
"""SQLite's own default."""
KEPT_TABLES_MAX = 24
"""Tables whose triggers outlive a transaction; with very many, opening a connection would be slow."""

INSERTED, OLD, NEW, DELETED, READ, STATEMENT = "I", "O", "N", "D", "R", "S"


class Capture:
    """The journal and the capture triggers of one connection."""

    def __init__(self, connection: LockedConnection) -> None:
        self.connection = connection
        self.installed: dict[str, TableSpec] = {}
        """Tables with triggers at present; the guard lets statements write these alone."""
        self.guard = Guard(self.installed, connection.lock)
        self.specs: dict[int, TableSpec] = {}
        """Specs by the number that journal rows carry; a table has several over a migration."""
        self._spec_cache: dict[str, TableSpec] = {}
        self.schema_version: int | None = None
        """A replicated schema version that no spec is older than; None: not asked yet."""
        self.insert_shapes: dict[tuple[str, tuple[str, ...]], InsertShape | None] = {}
        """By table and columns, what is known of such INSERTs under the present specs."""
        self.quoted: dict[str, Quoted] = {}
        """By table, how its names stand in SQL under the present specs."""
        self._wanted: dict[str, None] = {}
        self._width = WIDTH_MIN
        self._cookie = -1
        self._changed = False
        self._prepared = False
        self._made_triggers = False
        self._next_number = 1
        self._pinning: Pinning | None = None

    @property
    def pinning(self) -> Pinning:
        """What makes a statement draw from its entry instead of this machine."""
        if self._pinning is None:
            self._pinning = Pinning(self.connection, outside="real")
        return self._pinning

    # -- the connection's life ------------------------------------------------------------------

    def _prepare(self) -> None:
        """Make the journal; not before it is needed, since most connections only read."""
        columns = ", ".join(f"c{position}" for position in range(self._width))
        with self.guard.unlocked():
            self.connection.execute(f"CREATE TEMP TABLE {PARENT} (id INTEGER PRIMARY KEY)")
            self.connection.execute(
                f"CREATE TEMP TABLE {JOURNAL} (seq INTEGER PRIMARY KEY, spec INTEGER, op,"
                f" guard INTEGER REFERENCES {PARENT} (id) DEFERRABLE INITIALLY DEFERRED, {columns})"
            )
        self._prepared = True

    # -- between transactions -------------------------------------------------------------------

    def allow_changes(self) -> None:
        """A transaction of ours has the write lock."""
        self.connection.set_trigger_depth(TRIGGER_DEPTH)

    def forbid_changes(self) -> None:
        """Have every statement fail that fires a trigger, ours included.

        Looked at when a statement runs, so that those from the driver's cache fail too; and, other
        than `query_only`, it makes no statement be compiled anew, which would cost several times
        as much as executing it.
        """
        self.connection.set_trigger_depth(0)

    def forget_statements(self) -> None:
        """Have everything be compiled anew, so that the guard sees it again.

        Needed after statements that it let pass without capture: no trigger would stop them.
        """
        if self.guard.let_pass:
            self.guard.let_pass = False
            with self.guard.unlocked():
                self.connection.execute("PRAGMA query_only = OFF")

    def minds_foreign_keys(self) -> bool:
        """Whether `PRAGMA foreign_keys` is on, as it nearly always is."""
        guard = self.guard
        if guard.may_lack_foreign_keys:
            (on,) = self.connection.execute("PRAGMA foreign_keys").fetchone()
            guard.may_lack_foreign_keys = not on
        return not guard.may_lack_foreign_keys

    # -- the schema -----------------------------------------------------------------------------

    def cookie(self) -> int:
        """SQLite's own schema counter, a local cache key and nothing more."""
        return int(self.connection.execute("PRAGMA main.schema_version").fetchone()[0])

    @property
    def is_current(self) -> bool:
        """Whether triggers and specs belong to the schema of the present snapshot."""
        return self.cookie() == self._cookie

    @property
    def is_prepared(self) -> bool:
        """Whether there is a journal."""
        return self._prepared

    @property
    def has_wanted(self) -> bool:
        """Whether `renew()` would put triggers in place."""
        return bool(self._wanted)

    @property
    def is_ready(self) -> bool:
        """Whether rows can be captured in the present transaction."""
        return self._prepared and self.is_current

    def follow_schema(self) -> None:
        """Outside a transaction: forget what was known of an older schema."""
        if not self.is_current:
            self._forget_schema()

    def renew(self) -> None:
        """Outside a transaction: make ready to capture, with wanted triggers in place."""
        self.follow_schema()
        if not self._prepared:
            self._prepare()
        if self._wanted:
            self._keep_wanted()

    def _keep_wanted(self) -> None:
        """Make the triggers of tables written lately outlive the next rollback."""
        wanted = [name for name in self._wanted if name not in self.installed]
        self._wanted.clear()
        for name in wanted[: max(0, KEPT_TABLES_MAX - len(self.installed))]:
            with suppress(NotReplicable):  # It was made in a transaction that was undone.
                spec = self.spec(name)
                self._widen(spec)
                self._create_triggers(spec)
        self._changed = False

    def _forget_schema(self) -> None:
        """Drop all triggers and specs: another connection has changed the schema.

        A TEMP trigger whose table was dropped or renamed elsewhere is an orphan that DROP TRIGGER does
        not find, so they are taken out of the catalogue itself.
        """
        if self._made_triggers:
            with self.guard.unlocked():
                self.connection.execute("PRAGMA writable_schema = ON")
                self.connection.execute("DELETE FROM temp.sqlite_master WHERE type = 'trigger'")
                self.connection.execute("PRAGMA writable_schema = RESET")
            self._made_triggers = False
        self.installed.clear()
        self.specs.clear()
        self._forget_specs()
        self._wanted.clear()
        self._cookie = self.cookie()

    def _forget_specs(self) -> None:
        self._spec_cache.clear()
        self.insert_shapes.clear()
        self.quoted.clear()
        self.schema_version = None

    def pin_schema_version(self, version: int) -> None:
        """Outside a transaction: note a schema version that was read just now.

        Specs of an older schema are forgotten after it was read, not before: so a spec may be of a
        newer schema than the version says, which is a conflict at apply, and never of an older one.
        """
        self.follow_schema()
        self.schema_version = version

    # -- triggers -------------------------------------------------------------------------------

    def spec(self, name: str) -> TableSpec:
        """The table's spec under the present schema."""
        spec = self._spec_cache.get(name)
        if spec is None:
            with self.connection.lock:  # All of it from inside the transaction, or from outside.
                spec = self._spec_cache[name] = read_spec(self.connection, name)
        return spec

    def install(self, name: str) -> None:
        """In a transaction: capture a table from here on."""
        spec = self.spec(name)
        self._widen(spec)
        self._create_triggers(spec)
        self._changed = True
        self._wanted[name] = None

    def _create_triggers(self, spec: TableSpec) -> None:
        number = self._next_number
        self._next_number += 1
        self.specs[number] = spec
        old, new = (
            ", ".join(f"{image}.{quote(column)}" for column in spec.table.columns)
            for image in ("OLD", "NEW")
        )
        names = ", ".join(f"c{position}" for position in range(len(spec.table.columns)))

        def note(op: str, values: str) -> str:
            return (
                f"INSERT INTO {JOURNAL} (spec, op, guard, {names})"
                f" VALUES ({number}, '{op}', 1, {values});"
            )

        bodies = {
            "INSERT": note(INSERTED, new),
            "UPDATE": note(OLD, old) + " " + note(NEW, new),
            "DELETE": note(DELETED, old),
        }
        with self.guard.unlocked():
            for event, body in bodies.items():
                self.connection.execute(
                    f"CREATE TEMP TRIGGER {TRIGGER_PREFIX}{number}_{event.lower()}"
                    f" AFTER {event} ON main.{quote(spec.name)} BEGIN {body} END"
                )
        self.installed[spec.name] = spec
        self._made_triggers = True

    def _widen(self, spec: TableSpec) -> None:
        """Give the journal as many columns as the table."""
        needed = len(spec.table.columns)
        if needed <= self._width:
            return
        with self.guard.unlocked():
            for position in range(self._width, needed):
                self.connection.execute(f"ALTER TABLE temp.{JOURNAL} ADD COLUMN c{position}")
        self._width = needed
        self._changed = True

    def drop_triggers(self) -> None:
        """In a transaction, before DDL: they would be renamed, orphaned or in its way."""
        if self.installed:
            with self.guard.unlocked():
                for name in self._trigger_names():
                    self.connection.execute(f"DROP TRIGGER temp.{quote(name)}")
            self.installed.clear()
            self._changed = True
        self._forget_specs()

    def schema_changed(self) -> None:
        """In a transaction, after DDL: what was read about tables no longer holds."""
        self._forget_specs()
        self._changed = True

    def undone(self) -> None:
        """After ROLLBACK or ROLLBACK TO: read what of the bookkeeping was undone with it."""
        if not self._changed:
            return
        self._forget_specs()
        self.installed.clear()
        for name in self._trigger_names():
            number = re.fullmatch(rf"{TRIGGER_PREFIX}(\d+)_insert", name)
            if number:
                spec = self.specs[int(number[1])]
                self.installed[spec.name] = spec
        if self._prepared:
            journal = self.connection.execute(f"SELECT * FROM temp.{JOURNAL}")
            self._width = len(journal.description) - 4
        if not self.connection.in_transaction:
            self._changed = False
            self.specs = {
                number: spec
                for number, spec in self.specs.items()
                if self.installed.get(spec.name) is spec
            }

    def _trigger_names(self) -> list[str]:
        return [
            name
            for (name,) in self.connection.execute(
                "SELECT name FROM temp.sqlite_master WHERE type = 'trigger'"
            ).fetchall()
        ]

    # -- the journal ----------------------------------------------------------------------------

    def note(self, op: str, number: int, values: Sequence[Value]) -> None:
        """Put a row of our own into the journal."""
        names = ", ".join(f"c{position}" for position in range(len(values)))
        marks = ", ".join("?" for _ in values)
        with self.guard.unlocked():
            self.connection.execute(
                f"INSERT INTO temp.{JOURNAL} (spec, op, guard, {names}) VALUES (?, ?, 1, {marks})",
                (number, op, *values),
            )

    def number_of(self, name: str) -> int:
        """A number by which journal rows of our own can name the table's present spec."""
        spec = self.spec(name)
        for number, known in self.specs.items():
            if known is spec:
                return number
        number = self._next_number
        self._next_number += 1
        self.specs[number] = spec
        self._changed = True
        self._widen(spec)
        return number

    def length(self) -> int:
        """How many rows the journal has; they are numbered from 1, without gaps."""
        if not self._prepared:
            return 0
        return self.connection.execute(f"SELECT max(seq) FROM temp.{JOURNAL}").fetchone()[0] or 0

    def entries(self, after: int = 0) -> list[tuple[int | None, str, Row]]:
        """What was noted after so many rows, in order: spec number, what happened, values."""
        if not self._prepared:
            return []
        rows = self.connection.execute(
            f"SELECT * FROM temp.{JOURNAL} WHERE seq > ? ORDER BY seq", (after,)
        ).fetchall()
        return [(row[1], row[2], row[4:]) for row in rows]

    def clear(self) -> None:
        """Forget what was noted (inside Django's `TestCase`, where no ROLLBACK does it)."""
        if not self._prepared:
            return
        with self.guard.unlocked():
            self.connection.execute(f"DELETE FROM temp.{JOURNAL}")
