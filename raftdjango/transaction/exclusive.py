"""Turns in which nobody else's writes come between what a block reads and its commit."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from raftdjango.backends.sqlite3.transactions.turn import exclusive_turn, turn_s

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

EXCLUSIVE_AFTER = 5
"""Defeats after which a block that is run again gets a turn."""


def in_turn(connection: BaseDatabaseWrapper, defeats: int = 0) -> AbstractContextManager[bool]:
    """A turn for the next block of this connection, where its database is replicated.

    `defeats`: in how many turns it did not get done; it has twice as long in each.
    """
    replication = getattr(connection, "replication", None)
    if replication is None:
        return nullcontext(False)  # noqa: FBT003 - there are no turns
    return exclusive_turn(replication, longest_s=turn_s(defeats))
