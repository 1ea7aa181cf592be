"""The replicated SQLite backend: Django's own, with commits that go through the log."""

from __future__ import annotations

from typing import Any

from django.db.backends.sqlite3 import base as sqlite3

from raftdjango.backends.sqlite3.replication import Replication


class ReplicatedDatabaseWrapperMixin:
    """What makes a vendor's wrapper a replicated one."""

    replication: Replication


class DatabaseWrapper(ReplicatedDatabaseWrapperMixin, sqlite3.DatabaseWrapper):
    """`django.db.backends.sqlite3`, replicated."""

    display_name = "SQLite (replicated)"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.replication = Replication(self)
