"""Turns in which nobody else's writes come between what a block reads and its commit."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from raftdjango.backends.sqlite3.turn import exclusive_turn

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

EXCLUSIVE_AFTER = 5
"""Defeats after which a block that is run again gets a turn."""


def in_turn(connection: BaseDatabaseWrapper) -> AbstractContextManager[bool]:
    """A turn for the next block of this connection, where its database is replicated."""
    replication = getattr(connection, "replication", None)
    return nullcontext(False) if replication is None else exclusive_turn(replication)  # noqa: FBT003
