"""What belongs to one local transaction and is forgotten with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from raftdjango.backends.sqlite3.reads.repeated import ReadMemory
from raftdjango.backends.sqlite3.transactions.failures import Failures

if TYPE_CHECKING:
    from raftdjango.writeset import ValidatedRead


class State(Enum):
    """How far the local transaction has come."""

    IDLE = "no transaction"
    READING = "begun, without the write lock"
    WRITING = "has the write lock"


@dataclass(slots=True)
class Block:
    """What belongs to one transaction and is forgotten with it."""

    savepoints: list[str] = field(default_factory=list)
    reads: ReadMemory = field(default_factory=ReadMemory)
    locked: list[ValidatedRead] = field(default_factory=list)
    """Rows read with `select_for_update()` before the first write."""
    schema_version: int = 0
    applied_index: int = 0
    foreign_keys_off: bool = False
    statements: int = 0
    """Executed in it, savepoints not counted."""
    schema_changed: bool = False
    """By statements of its own: others may not know its tables."""
    renewed: bool = False
    wrote: bool = False
    """It may have changed rows, though perhaps undone that: reads are not remembered any more."""
    keys_chosen: dict[str, int] = field(default_factory=dict)
    """By table: from which key on rows were given some without a lease."""
    raw_keys: dict[str, range] = field(default_factory=dict)
    """By table: the block of keys that SQLite's own sequence was raised to last."""
    failures: Failures = field(default_factory=Failures)


class Left(NamedTuple):
    """What is to be known of a transaction that begins again: SQLite forgets it with the old one."""

    data_version: int
    defer_foreign_keys: bool
