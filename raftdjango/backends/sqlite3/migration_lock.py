"""The group's migration lock, taken through the log: of several `migrate` started at once, one works."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from raftdjango.backends.sqlite3 import commit
from raftdjango.conf import get_settings
from raftdjango.exceptions import ReplicationError
from raftdjango.writeset import MigrationLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from raftdjango.backends.sqlite3.replication import Replication

logger = logging.getLogger("raftdjango.migrations")

LEASE_MS = 15 * 60 * 1000
"""Held so long if its holder dies; renewed at the start of each migration."""
POLL_S = 0.5
YIELD_MS = 1_000
"""How long a migration at least lets the applier wait: its node counts as ready for about twice as long."""


class LockLost(ReplicationError):
    """Somebody else has the migration lock: ours had run out."""


class HeldLock:
    """The lock of one `migrate`."""

    def __init__(self, replication: Replication) -> None:
        self.replication = replication
        self.holder = os.urandom(16)

    def take(self) -> bool:
        """Take or renew it; False while somebody else has it."""
        until_ms = self.replication.client.cluster_time_ms() + LEASE_MS
        return self._propose(MigrationLock(self.holder, until_ms))

    def renew(self) -> None:
        """Hold it for another while."""
        if not self.take():
            raise LockLost(
                "The migration lock ran out and another node has it now. Nothing of the present "
                "migration was written; run migrate again."
            )

    def release(self) -> None:
        """Give it back."""
        self._propose(MigrationLock(self.holder, 0, release=True))

    def _propose(self, body: MigrationLock) -> bool:
        outcome = commit.propose_body(self.replication, body)
        commit.raise_verdict(outcome)
        return outcome.verdict.granted


@contextmanager
def migration_lock(replication: Replication, *, on_wait: Callable[[], None]) -> Iterator[HeldLock]:
    """Hold the lock, on a view that has everything that its last holder wrote."""
    lock = HeldLock(replication)
    waiting = False
    while not lock.take():
        if not waiting:
            waiting = True
            on_wait()
        time.sleep(POLL_S)
    try:
        replication.refresh()
        with _unhurried(replication):
            yield lock
    finally:
        try:
            lock.release()
        except ReplicationError as error:
            # What was done stays done; the next one waits until the lock runs out.
            logger.warning("The migration lock could not be given back: %s", error)


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
