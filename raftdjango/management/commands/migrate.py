"""Django's `migrate`; on a replicated database under the group's migration lock.

It may be started on every node at once, as deployments do: one works, the others wait, and then find
nothing left to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections

from raftdjango.backends.sqlite3.migration_lock import migration_lock
from raftdjango.conf import missing_folder
from raftdjango.exceptions import ClusterUnavailable, TransactionConflict

if TYPE_CHECKING:
    from raftdjango.backends.sqlite3.migration_lock import HeldLock


LOST = (
    "What is reported as OK above is done; the migration that was under way wrote nothing, unless it "
    "is marked atomic = False. Run migrate again. A migration is one transaction, so that others who "
    "write meanwhile can be in its way: should this happen again, stop them while it runs, split it "
    "into shorter ones, or give it longer by a larger RAFTDJANGO['LOCK_YIELD_MS']."
)


class Command(migrate.Command):
    """As Django's."""

    lock: HeldLock | None = None

    def handle(self, *args: Any, **options: Any) -> Any:
        """Migrate, as the only one in the group."""
        alias = options["database"]
        replication = getattr(connections[alias], "replication", None)
        file = Path(connections[alias].settings_dict["NAME"])
        if replication is not None and (missing := missing_folder(alias, file.absolute())):
            raise CommandError(missing)
        only_looks = options.get("plan") or options.get("check_unapplied")
        if replication is None or only_looks:
            return super().handle(*args, **options)
        began = False
        try:
            with migration_lock(replication, on_wait=self._say_wait) as self.lock:
                began = True
                try:
                    return super().handle(*args, **options)
                finally:
                    self.lock = None
        except TransactionConflict as error:
            raise CommandError(f"{error}\n{LOST}") from error
        except ClusterUnavailable as error:
            if began:
                raise
            raise CommandError(str(error)) from error

    def _say_wait(self, holder: str) -> None:
        self.stderr.write(f"{holder} is migrating this database; waiting for it to finish.")

    def migration_progress_callback(self, action: str, *args: Any, **kwargs: Any) -> None:
        """Django's reports; at each migration the lock is renewed."""
        if self.lock is not None and action in {"apply_start", "unapply_start"}:
            self.lock.renew()
        super().migration_progress_callback(action, *args, **kwargs)
