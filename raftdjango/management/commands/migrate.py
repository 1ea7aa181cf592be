"""Django's `migrate`; on a replicated database under the group's migration lock.

It may be started on every node at once, as deployments do: one works, the others wait, and then find
nothing left to do.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections

from raftdjango.backends.sqlite3.transactions.migration_lock import migration_lock
from raftdjango.backends.sqlite3.transactions.turn import exclusive_turn, longest_turn_s
from raftdjango.conf import missing_folder
from raftdjango.exceptions import ClusterUnavailable, MigrationLockLost, TransactionConflict

if TYPE_CHECKING:
    from raftdjango.backends.sqlite3.replication import Replication
    from raftdjango.backends.sqlite3.transactions.migration_lock import HeldLock


ATTEMPTS = 3
"""Runs of one migration that is lost to other writes."""
LOST = (
    "What is reported as OK above is done; the migration that was under way wrote nothing, unless it "
    "is marked atomic = False. Run migrate again. A migration is one transaction, so that others who "
    "write meanwhile can be in its way: should this happen again, stop them while it runs, split it "
    "into shorter ones, or give it longer by a larger RAFTDJANGO['LOCK_YIELD_MS']."
)
FENCED_OFF = (
    "What is reported as OK above is done. Of the migration that was under way nothing is, or, where it "
    "is marked atomic = False, no more than it had done before the lock was lost. Run migrate again: it "
    "goes on from what the other one has left."
)
AGAIN = "\n  Lost to a write of somebody else ({error}); nothing was written, trying again."


class Command(migrate.Command):
    """As Django's."""

    lock: HeldLock | None = None
    _commits: int
    """Of this connection, before the migration that is under way."""
    _turn: ExitStack

    def handle(self, *args: Any, **options: Any) -> Any:
        """Migrate, as the only one in the group."""
        alias = options["database"]
        replication = getattr(connections[alias], "replication", None)
        file = Path(connections[alias].settings_dict["NAME"])
        if replication is not None and (missing := missing_folder(alias, file.absolute())):
            raise CommandError(missing)
        only_looks = options.get("plan") or options.get("check_unapplied")
        if replication is None or (only_looks and not options.get("prune")):  # Django prunes first
            return super().handle(*args, **options)
        began = False
        try:
            with migration_lock(replication, on_wait=self._say_wait) as self.lock:
                began = True
                try:
                    return self._migrate(self.lock.replication, *args, **options)
                finally:
                    self.lock = None
        except TransactionConflict as error:
            raise CommandError(f"{error}\n{LOST}") from error
        except MigrationLockLost as error:
            raise CommandError(f"{error}\n{FENCED_OFF}") from error
        except ClusterUnavailable as error:
            if began:
                raise
            raise CommandError(str(error)) from error

    def _migrate(self, replication: Replication, *args: Any, **options: Any) -> Any:
        """Django's command, again where a migration was lost before anything of it was written."""
        for attempt in range(1, ATTEMPTS + 1):
            self._commits = -1
            try:
                with ExitStack() as self._turn:
                    return super().handle(*args, **options)
            except TransactionConflict as error:
                if attempt == ATTEMPTS or replication.commits != self._commits:
                    raise
                self.stderr.write(AGAIN.format(error=error))
        raise AssertionError("unreachable")  # pragma: no cover

    def _say_wait(self, holder: str) -> None:
        self.stderr.write(f"{holder} is migrating this database; waiting for it to finish.")

    def migration_progress_callback(self, action: str, *args: Any, **kwargs: Any) -> None:
        """Django's reports; each migration renews the lock, and runs in an exclusive turn.

        It is one long transaction over whole tables, to which any other write could be fatal.
        """
        if self.lock is not None and action in {"apply_start", "unapply_start"}:
            self.lock.renew()
            self._commits = self.lock.replication.commits
            self._turn.enter_context(
                exclusive_turn(self.lock.replication, longest_s=longest_turn_s())
            )
        elif self.lock is not None and action in {"apply_success", "unapply_success"}:
            self._turn.close()
        super().migration_progress_callback(action, *args, **kwargs)
