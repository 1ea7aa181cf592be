"""What a client reads in its own node's database: which cluster it belongs to, and stored outcomes.

On a connection of its own, read-only and closed at once, so that it neither disturbs the worker's
transaction nor is disturbed by it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from raftdjango.applier import read_state, stored_outcome

if TYPE_CHECKING:
    from pathlib import Path

    from raftdjango.applier import AppliedState
    from raftdjango.writeset import Verdict


def connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write and does not make the file."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)


def local_state(path: Path) -> AppliedState | None:
    """The database's applied state; None where there is no database of a cluster (yet)."""
    if not path.exists():
        return None
    try:
        with closing(connect_read_only(path)) as connection:
            return read_state(connection)
    except sqlite3.Error:
        return None


def local_outcome(path: Path, proposal_id: bytes) -> tuple[Verdict | None, AppliedState | None]:
    """The stored verdict of a proposal and the applied state, both of one moment."""
    with closing(connect_read_only(path)) as connection:
        connection.execute("BEGIN")
        found = stored_outcome(connection, proposal_id)
        state = read_state(connection)
        connection.execute("ROLLBACK")
    return (found[0] if found else None), state
