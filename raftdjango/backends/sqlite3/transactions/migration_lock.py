"""The group's migration lock, taken through the log: of several `migrate` started at once, one works."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING

from django.db import connections

from raftdjango.backends.sqlite3.transactions import commit
from raftdjango.conf import get_settings
from raftdjango.exceptions import MigrationLockLost, ReplicationError
from raftdjango.writeset import MigrationLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from raftdjango.backends.sqlite3.replication import Replication

logger = logging.getLogger("raftdjango.migrations")

LEASE_MS = 30 * 1000
"""Held so long if its holder dies."""
RENEW_S = 10.0
POLL_S = 0.5
YIELD_MS = 60_000
"""How long a migration at least lets the applier wait.  Its node falls behind and counts as not ready
meanwhile; the others go on, and what is rebuilt for longer than this would hold up each of them as long."""
SECRET_BYTES = 16


class HeldLock:
    """The lock of one `migrate`.

    What says that nothing is migrated twice is not its time: the clock of a stopped process stands
    still.  Each entry of the connection that migrates names the holder, and is void wherever in the
    log somebody else has had the lock since (the write-set's `fence`).
    """

    def __init__(self, replication: Replication) -> None:
        self.replication = replication
        name = f"{get_settings().node_id} (process {os.getpid()})"
        self.holder = os.urandom(SECRET_BYTES) + name.encode()
        self.lost = False
        """Another has had it since: this one never has it again."""

    def take(self, *, renew: bool = False) -> bool:
        """Take it, or renew it if nobody else has had it since; False: somebody else has (had) it."""
        until_ms = self.replication.client.cluster_time_ms() + LEASE_MS
        return self._propose(MigrationLock(self.holder, until_ms, renew=renew))

    def renew(self) -> None:
        """Hold it for another while."""
        self.lost = self.lost or not self.take(renew=True)
        if self.lost:
            raise MigrationLockLost(commit.MIGRATION_LOCK_LOST)

    def release(self) -> None:
        """Give it back."""
        self._propose(MigrationLock(self.holder, 0, release=True))

    def _propose(self, body: MigrationLock) -> bool:
        outcome = commit.propose_body(self.replication, body)
        commit.raise_verdict(outcome)
        return outcome.verdict.granted


@contextmanager
def migration_lock(
    replication: Replication, *, on_wait: Callable[[str], None]
) -> Iterator[HeldLock]:
    """Hold the lock, on a view that has everything that its last holder wrote.

    `on_wait` is told who has it, and told again when somebody else gets it first.
    """
    lock = HeldLock(replication)
    told = ""
    while not lock.take():
        holder = present_holder(replication)
        while True:
            if holder not in {told, ""}:
                told = holder
                on_wait(holder)
            time.sleep(POLL_S)
            if not (holder := present_holder(replication)):
                break
    try:
        replication.refresh()
        replication.fence = lock.holder
        with _unhurried(replication), _kept(lock):
            yield lock
    finally:
        replication.fence = b""
        try:
            lock.release()
        except ReplicationError as error:
            # What was done stays done; the next one waits until the lock runs out.
            logger.warning("The migration lock could not be given back: %s", error)


def present_holder(replication: Replication) -> str:
    """Who has the lock, as far as this node knows; empty if it looks free.

    A look at the local database: those who wait do not fill the log with questions.
    """
    from raftdjango.models import Lock

    lock = Lock.objects.using(replication.wrapper.alias).filter(pk="migration").first()
    if lock is None or lock.until_ms < replication.client.cluster_time_ms():
        return ""
    return bytes(lock.holder[SECRET_BYTES:]).decode(errors="replace") or "Another process"


@contextmanager
def _kept(lock: HeldLock) -> Iterator[None]:
    """Renew the lock from another thread: one migration may take longer than the lease."""
    if lock.replication.nested.active:
        yield  # Inside a test's transaction there is nobody else.
        return
    ended = threading.Event()
    alias = lock.replication.wrapper.alias

    def keep() -> None:
        own = copy(lock)
        own.replication = connections[alias].replication  # type: ignore[attr-defined]
        try:
            while not (lock.lost or ended.wait(RENEW_S)):
                try:
                    own.renew()
                except MigrationLockLost as error:
                    lock.lost = True
                    logger.error("%s", error)
                except ReplicationError as error:
                    logger.warning("The migration lock could not be renewed: %s", error)
        finally:
            connections[alias].close()

    keeper = threading.Thread(target=keep, name="raftdjango-migration-lock", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()


@contextmanager
def _unhurried(replication: Replication) -> Iterator[None]:
    """Give this process' blocks longer than others before they lose the write lock to the applier."""
    replication.wrapper.ensure_connection()
    right_of_way = replication.speculation.write_lock.find_right_of_way()
    if right_of_way is None:
        yield
        return
    before = right_of_way.lock_yield_ms
    right_of_way.lock_yield_ms = max(YIELD_MS, before or get_settings().lock_yield_ms)
    try:
        yield
    finally:
        right_of_way.lock_yield_ms = before
