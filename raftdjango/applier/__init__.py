"""Entry and connection in, verdict out; nothing else.

Imports the write-set and Django's SQL functions, and knows neither models nor settings.
"""

from __future__ import annotations

from raftdjango.applier.database import open_database
from raftdjango.applier.engine import Applier
from raftdjango.applier.entries import Applied, LogEntry
from raftdjango.applier.faults import (
    EnvironmentFault,
    Locked,
    OutOfOrder,
    VerificationFailed,
)
from raftdjango.applier.tables import (
    OUTCOME_GRACE_MS,
    AppliedState,
    foreign_tables,
    read_state,
    stored_outcome,
)
from raftdjango.writeset.digests import expected_digest, tables_digest, user_tables

__all__ = [
    "OUTCOME_GRACE_MS",
    "Applied",
    "AppliedState",
    "Applier",
    "EnvironmentFault",
    "Locked",
    "LogEntry",
    "OutOfOrder",
    "VerificationFailed",
    "expected_digest",
    "foreign_tables",
    "open_database",
    "read_state",
    "stored_outcome",
    "tables_digest",
    "user_tables",
]
