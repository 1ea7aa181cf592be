"""How a write-set says that it gives keys which were not leased: from which one on, behind all others.

It is a validated read of the allocator's row, by a key that such a row does not have: nobody else can
mean that.  It holds as long as none of these keys is leased, nor used.
"""

from __future__ import annotations

from raftdjango.writeset.parts import Operation, Table, ValidatedRead

ALLOCATOR = "raftdjango_key"
"""By table: the first key that was not leased yet."""
_TABLE = Table(ALLOCATOR, ("table_name", "next_key"), (0, 1))


def keys_chosen(table: str, first: int) -> ValidatedRead:
    """Of this table, from `first` on."""
    return ValidatedRead(_TABLE, (table, first), b"")


def keys_chosen_by(operation: Operation) -> tuple[str, int] | None:
    """Table and first key; None if the operation says something else."""
    if not isinstance(operation, ValidatedRead) or operation.table != _TABLE or operation.before:
        return None
    table, first = operation.key
    return (table, first) if isinstance(table, str) and isinstance(first, int) else None
