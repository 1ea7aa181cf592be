"""The parts of a log entry's data: commands, a transaction's operations, verdicts.

Values are SQLite storage classes, never Python objects of models, so that applying needs no model
class and nodes may run different code.  A row is a tuple in the order of its `Table.columns`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

Value = None | int | float | str | bytes
Row = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table as operations mean it: columns that travel, and where the primary key is in them."""

    name: str
    columns: tuple[str, ...]
    """Neither hidden nor generated, in the order of the schema."""
    key: tuple[int, ...]
    """Positions in `columns`, in the order of the primary key; never empty."""

    def key_of(self, row: Row) -> Row:
        """The primary key of a whole row."""
        return tuple(row[position] for position in self.key)


@dataclass(frozen=True, slots=True)
class Insert:
    """A row that was inserted."""

    table: Table
    row: Row


@dataclass(frozen=True, slots=True)
class Update:
    """A row that was changed; with no changes it is a read that must still hold."""

    table: Table
    key: Row
    before: bytes
    """`row_digest` of the whole row as the transaction read it."""
    changes: tuple[tuple[int, Value], ...]
    """(position in `table.columns`, new value)."""


@dataclass(frozen=True, slots=True)
class Delete:
    """A row that was deleted."""

    table: Table
    key: Row
    before: bytes


@dataclass(frozen=True, slots=True)
class ValidatedRead:
    """A row that must still be as it was read (`select_for_update()`)."""

    table: Table
    key: Row
    before: bytes
    """`row_digest`, or empty: the row must be absent."""


@dataclass(frozen=True, slots=True)
class Pins:
    """What `random()` and `'now'` mean while a statement is applied."""

    random_seed: bytes
    now: str
    """`YYYY-MM-DD HH:MM:SS.SSS`, UTC."""


@dataclass(frozen=True, slots=True)
class Statement:
    """DDL, or the schema editor's own copying; rows otherwise travel as rows."""

    sql: str
    parameters: Row
    pins: Pins


@dataclass(frozen=True, slots=True)
class BlindInsert:
    """An INSERT of a known row that was not executed locally."""

    table: Table
    columns: tuple[int, ...]
    values: Row
    returning: tuple[int, ...] = ()
    """Positions in `table.columns`... of the columns to answer."""
    returning_names: tuple[str, ...] = ()
    """Names of columns to answer that do not travel (generated ones); after `returning`."""
    expected_rows: int | None = None


@dataclass(frozen=True, slots=True)
class BlindUpdate:
    """An UPDATE by key with literal values that was not executed locally."""

    table: Table
    keys: tuple[Row, ...]
    changes: tuple[tuple[int, Value], ...]
    expected_rows: int | None = None
    """Rows that user code was told were changed; another count is a conflict."""


@dataclass(frozen=True, slots=True)
class BlindDelete:
    """A DELETE by key that was not executed locally."""

    table: Table
    keys: tuple[Row, ...]
    expected_rows: int | None = None


Operation = (
    Insert | Update | Delete | ValidatedRead | Statement | BlindInsert | BlindUpdate | BlindDelete
)


@dataclass(frozen=True, slots=True)
class Query:
    """A query that a serializable transaction made before it wrote to any of the query's tables."""

    sql: str
    """`repeatable`, with positional parameters."""
    parameters: Row
    columns: int
    """How many it gives."""
    row_count: int
    digest: bytes
    """`rows_digest` of what it gave."""
    tables: tuple[str, ...]
    """Where none of them was changed since, it need not be made again; never empty."""


@dataclass(frozen=True, slots=True)
class Reads:
    """All that a serializable transaction read, to be checked before its first operation."""

    log_index: int
    """The last entry that its snapshot showed."""
    tables: tuple[str, ...]
    """None of them may have been changed since.  "" stands for any table."""
    queries: tuple[Query, ...]
    """Each must give now what it gave then."""


@dataclass(frozen=True, slots=True)
class WriteSet:
    """One transaction, in the order in which it happened."""

    schema_version: int
    """Log index of the last applied entry with a statement in it, on the snapshot captured."""
    operations: tuple[Operation, ...]
    foreign_keys_off: bool = False
    """As Django's schema editor has it."""
    expected_digest: bytes = b""
    """Verify mode of the tests: digest of all touched tables after the speculative run."""
    reads: Reads | None = None
    """None: the transaction is not serializable; rows that it changed are checked all the same."""
    fence: bytes = b""
    """Void unless this is the holder of the migration lock at the entry's place in the log."""


@dataclass(frozen=True, slots=True)
class KeyLease:
    """Reserve `count` auto-increment keys of a table."""

    table: str
    count: int


@dataclass(frozen=True, slots=True)
class Barrier:
    """Changes nothing; its place in the log is what matters."""


@dataclass(frozen=True, slots=True)
class FormCluster:
    """The first leader's first command: the cluster's identity and initial configuration."""

    cluster_id: bytes
    group: str
    nodes: tuple[tuple[str, str], ...]
    """(node id, URL), sorted."""


@dataclass(frozen=True, slots=True)
class BindIncarnation:
    """Binds a data directory's random incarnation to a node id, once for all."""

    node_id: str
    incarnation: bytes


@dataclass(frozen=True, slots=True)
class MigrationLock:
    """Take (or release) the group's migration lock until a cluster time."""

    holder: bytes
    until_ms: int
    release: bool = False
    renew: bool = False
    """Only where nobody else has had it since: who had it before must not have it again unawares."""


Body = WriteSet | KeyLease | Barrier | FormCluster | BindIncarnation | MigrationLock


@dataclass(frozen=True, slots=True)
class Command:
    """What an entry of kind COMMAND holds."""

    proposal_id: bytes
    expires_at_ms: int
    """Cluster time; an entry stamped later gets `EXPIRED`.  0: never."""
    body: Body


class VerdictKind(IntEnum):
    """The same on every node; the numbers are part of the format."""

    APPLIED = 1
    CONFLICT = 2
    INTEGRITY_ERROR = 3
    """A constraint, met by a blind operation or a deferred foreign key's own statement."""
    CONSTRAINT_CONFLICT = 4
    """A constraint that held locally did not hold at the entry's place in the log."""
    EXPIRED = 5
    OPERATIONAL_ERROR = 6
    """A statement failed, in the same way on every node."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What applying a command came to."""

    kind: VerdictKind
    table: str = ""
    key: Row = ()
    message: str = ""
    """As SQLite words it: `UNIQUE constraint failed: app_model.field`."""
    row_count: int = 0
    """Of the last blind operation."""
    rows: tuple[Row, ...] = field(default=())
    """What blind inserts return, one row each, in order."""
    first_key: int = 0
    """Key lease: the first of the `count` keys."""
    granted: bool = False
    """Migration lock."""
