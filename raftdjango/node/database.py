"""Whether a database file, an identity and a log belong together: asked before anything is written.

The database may be behind the log (it is applied again) or missing (it is made from the log, which
is not compacted).  Ahead of the log, or of another cluster, it is refused: one of the two was lost
or restored, and only the operator knows which.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raftdjango.applier import foreign_tables, read_state
from raftdjango.client.local_database import connect_read_only
from raftdjango.node.errors import StartRefused

if TYPE_CHECKING:
    from pathlib import Path

    from raftcore.storage.protocol import LogReader
    from raftdjango.applier import AppliedState
    from raftdjango.node.data_dir import Identity


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member as the replicated tables have it."""

    node_id: str
    url: str
    incarnation: bytes
    """Empty until it is bound."""


def check_file(path: Path) -> None:
    """Refuse a file that holds tables and belongs to no cluster; reads only."""
    if not path.parent.is_dir():
        raise StartRefused(
            f"The folder of database file {path} does not exist. Make it, or correct "
            "NAME in DATABASES."
        )
    if not path.exists():
        return
    try:
        with closing(connect_read_only(path)) as connection:
            if read_state(connection) is not None:
                return
            tables = foreign_tables(connection)
    except sqlite3.Error as error:
        raise StartRefused(f"Database file {path} cannot be read: {error}.") from error
    if tables:
        shown = ", ".join(sorted(tables)[:5]) + (", ..." if len(tables) > 5 else "")
        raise StartRefused(
            f"Database file {path} holds tables ({shown}) but belongs to no cluster; nothing was "
            "changed in it. Move it away and start with an empty database, then bring its data in "
            "with: manage.py loaddata."
        )


def check_state(
    path: Path, state: AppliedState, identity: Identity, log: LogReader, group_dir: Path
) -> None:
    """Refuse a database that does not fit the data directory."""
    if state.group_name and state.group_name != identity.group:
        raise StartRefused(
            f"Database file {path} belongs to group {state.group_name!r}, and {group_dir} to group "
            f"{identity.group!r}. Correct NAME or OPTIONS['raft']['group'] in DATABASES."
        )
    if identity.cluster_id and state.cluster_id and identity.cluster_id != state.cluster_id:
        raise StartRefused(
            f"Database file {path} belongs to cluster {state.cluster_id.hex()}, and {group_dir} to "
            f"cluster {identity.cluster_id.hex()}. Correct NAME in DATABASES or "
            "RAFTDJANGO['DATA_DIR']."
        )
    if state.applied_index > log.last_index:
        lost = (
            f"{group_dir} is new, so the log was lost or DATA_DIR points elsewhere"
            if not log.last_index
            else "the log was restored from an older copy, or lost its end"
        )
        raise StartRefused(
            f"Database file {path} is applied up to index {state.applied_index}, beyond the end of "
            f"the log at {log.last_index}: {lost}. Bring the newer log back. If it is gone for "
            "good, this node must be removed from the cluster and added under a new node id."
        )
    index = state.applied_index
    if index >= log.first_index and log.term(index) != state.applied_term:
        raise StartRefused(
            f"Database file {path} was applied up to index {index} in term {state.applied_term}, "
            f"where the log has term {log.term(index)}: one of the two was restored from another "
            "cluster or an older copy. Bring back the pair that belongs together."
        )


def read_members(connection: sqlite3.Connection) -> tuple[MemberRow, ...]:
    """The members as of the applied index; empty before the cluster has formed."""
    rows = connection.execute(
        "SELECT node_id, url, incarnation FROM raftdjango_member ORDER BY node_id"
    )
    return tuple(MemberRow(node_id, url, incarnation or b"") for node_id, url, incarnation in rows)
