"""Taking the local database's write lock, behind the applier, and giving it back when it waits."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from django.db import connections

from raftdjango.exceptions import ClusterUnavailable, TransactionConflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftdjango.backends.sqlite3.capture.triggers import Capture
    from raftdjango.backends.sqlite3.transactions.locked import LockedConnection
    from raftdjango.right_of_way.keeping import Keeping

TAKE_LOCK_SQL = "DELETE FROM main.raftdjango_state WHERE 0 /* takes the write lock */"
NOT_SET_UP = (
    "This database has not been set up for replication yet. Its node does that: "
    "start it with manage.py raftnode."
)


class Turns(Protocol):
    """Who goes first: `raftdjango.right_of_way`'s file, or what stands for it in tests."""

    keeping: Keeping
    lock_yield_ms: int | None

    @property
    def is_free(self) -> bool:
        """Whether nobody is to be let in first."""

    def acquire(self, begin: Callable[[], bool], timeout_s: float, *, first: bool = False) -> bool:
        """Call `begin` when it is one's turn, until it has the lock."""

    def watch(self, doom: Callable[[], None], *, reserved_ms: int = 0) -> object:
        """The lock is held: have `doom` called when others have waited long enough."""

    def unwatch(self, watch: Any) -> object:
        """The lock is about to be given back."""


def busy_timeout_s(raw: LockedConnection) -> float:
    """How long the connection waits for locks: `OPTIONS["timeout"]`, or the driver's own."""
    return float(raw.execute("PRAGMA busy_timeout").fetchone()[0]) / 1000


class WriteLock:
    """The write lock, as one connection asks for it."""

    def __init__(self, connection: LockedConnection, capture: Capture) -> None:
        self.connection = connection
        self.capture = capture
        self.find_right_of_way: Callable[[], Turns | None] = lambda: None
        self.right_of_way: Turns | None = None
        """None before there is a node that could wait."""
        self.timeout_s = 5.0
        self.turn_s = 0.0
        """How long all other nodes wait for this connection's transaction (an exclusive turn)."""
        self._watch: Any = None

    @property
    def is_wanted(self) -> bool:
        """Whether somebody is waiting for it: the applier, or other workers."""
        self._find()
        return self.right_of_way is not None and not self.right_of_way.is_free

    def take_in_place(self) -> bool:
        """Have the open transaction take it as it is; False where another one has to be begun."""
        if self.is_wanted or not self.capture.is_ready:
            return False
        with self.capture.guard.unlocked():
            try:
                # SQLite never waits where it has a snapshot already, which was just looked at.
                self.connection.execute(TAKE_LOCK_SQL)
            except sqlite3.OperationalError as error:
                if is_busy(error):
                    return False
                raise not_set_up(error) from error
        return not self._is_kept  # else it is given back

    def begin(self) -> None:
        """BEGIN IMMEDIATE, standing back for the applier, with triggers that fit the schema."""
        if self.capture.has_wanted or not self.capture.is_prepared:
            self.capture.renew()
        self._find()
        self._acquire()
        # Nearly always so; and only under the lock it stays so.
        while not self.capture.is_current:
            with self.capture.guard.unlocked():
                self.connection.rollback()
            self.capture.renew()
            self._acquire()

    def _find(self) -> None:
        if self.right_of_way is None:
            self.right_of_way = self.find_right_of_way()

    def _acquire(self) -> None:
        if self.right_of_way is None:
            taken = self._try_begin()
        else:
            self.connection.execute("PRAGMA busy_timeout = 0")
            try:
                taken = self.right_of_way.acquire(
                    self._try_begin, self.timeout_s, first=self.turn_s > 0
                )
            finally:
                self.connection.execute(f"PRAGMA busy_timeout = {int(self.timeout_s * 1000)}")
        if not taken:
            raise TransactionConflict(
                "The local database's write lock was not to be had within "
                f"{self.timeout_s:g} s. Nothing was written; run it again."
            )

    def _try_begin(self) -> bool:
        with self.capture.guard.unlocked():
            try:
                self.connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if is_busy(error):
                    return False
                raise
            if self._is_kept:  # since after the look before
                self.connection.rollback()
                return False
        return True

    @property
    def _is_kept(self) -> bool:
        return self.right_of_way is not None and bool(self.right_of_way.keeping)

    def keep(self) -> AbstractContextManager[None]:
        """The lock is about to be given back to be had by the applier, and by nobody else until then."""
        return nullcontext() if self.right_of_way is None else self.right_of_way.keeping.kept()

    def watch(self, give_way: Callable[[], None]) -> None:
        """The lock is held: have `give_way` called when the applier has waited long enough."""
        if self.right_of_way is not None:
            # In a turn little but leases is due, so the applier can wait for its end.
            reserved_ms = int(1000 * self.turn_s)
            self._watch = self.right_of_way.watch(give_way, reserved_ms=reserved_ms)

    def unwatch(self) -> None:
        """The lock is about to be given back; must not be called under the connection's lock."""
        watch, self._watch = self._watch, None
        if watch is not None and self.right_of_way is not None:
            self.right_of_way.unwatch(watch)


def is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether somebody else's lock is the reason, or a snapshot that is no longer the newest."""
    return (error.sqlite_errorcode & 0xFF) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def not_set_up(error: sqlite3.OperationalError) -> Exception:
    """The error, in people's words if it means that no node has been here yet."""
    if "raftdjango_state" in str(error):
        return ClusterUnavailable(NOT_SET_UP)
    return error


def holds_up_others(alias: str) -> bool:
    """Whether this thread has a block open in another database that others may be waiting for."""
    for other in connections.all(initialized_only=True):
        if other.alias == alias or not other.in_atomic_block:
            continue
        replication = getattr(other, "replication", None)
        # What locks another database gives, and whether it has, only that one knows.
        if replication is None or replication.holds_write_lock():
            return True
    return False
