"""A forked child opens connections of its own: gunicorn's `preload_app`, Celery's prefork, multiprocessing.

What SQLite remembers of a file's locks is the parent's, and so is the socket to the node.  Closing is safe
where nothing is open on the connection: then SQLite learns anew what the child has locked, and the
parent's locks stay.  In a transaction it is not, since it would undo in memory that both share; such a
connection is left alone for the rest of the child's life.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from raftdjango.backends.sqlite3.chunks import ChunkPool

if TYPE_CHECKING:
    from raftdjango.backends.sqlite3.base import ReplicatedDatabaseWrapperMixin
    from raftdjango.backends.sqlite3.transactions.locked import LockedConnection

_wrappers: weakref.WeakSet[ReplicatedDatabaseWrapperMixin] = weakref.WeakSet()
_left: list[LockedConnection] = []


def notice(wrapper: ReplicatedDatabaseWrapperMixin) -> None:
    """Have a forked child begin without this wrapper's connections."""
    _wrappers.add(wrapper)


def begin_anew(wrapper: Any) -> None:
    """In the child: all that is open here is the parent's; a block that was is lost."""
    connection, wrapper.connection = wrapper.connection, None
    wrapper.replication.forget_process()
    pool, wrapper._chunk_pool = wrapper._chunk_pool, ChunkPool()
    pool.close()
    wrapper.run_on_commit = []
    if wrapper.in_atomic_block:
        # As Django has it where a connection is closed inside `atomic()`.
        wrapper.closed_in_transaction = wrapper.needs_rollback = True
    if connection is not None:
        part(connection)


def part(raw: LockedConnection) -> None:
    """In the child: have done with a connection that the parent goes on using."""
    # Somebody's thread may have been at it, which is not there any more to let go.
    if raw.lock.acquire(blocking=False):
        try:
            if not raw.in_transaction:
                raw.close()
                return
        except sqlite3.Error:
            pass
        finally:
            raw.lock.release()
    _left.append(raw)


def _after_fork() -> None:
    for wrapper in list(_wrappers):
        with suppress(ReferenceError):
            begin_anew(wrapper)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
