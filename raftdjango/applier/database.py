"""The applier's own connection to the replicated database's file."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from django.db.backends.sqlite3._functions import (  # type: ignore[import-untyped]
    register as register_django_functions,
)

if TYPE_CHECKING:
    from pathlib import Path

STATEMENTS_CACHED = 512


def open_database(
    path: Path | str, *, for_applier: bool = True, timeout_s: float = 0.0
) -> sqlite3.Connection:
    """Connect as the applier does: raw values, no implicit transactions, WAL.

    With `for_applier=False` the connection can only read.  `timeout_s` is SQLite's own patience
    with locks; the applier has its own (see `Applier`).
    """
    connection = sqlite3.connect(
        str(path),
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=STATEMENTS_CACHED,
    )
    # CHECK constraints, generated columns and expression indexes may call Django's functions.
    register_django_functions(connection)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA legacy_alter_table = OFF")
    if not for_applier:
        connection.execute("PRAGMA query_only = ON")
        return connection
    connection.execute("PRAGMA journal_mode = WAL")
    # The Raft log is what is durable: after a power cut it replays what this database lost.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -16384")
    return connection
