"""Commands other than write-sets: leases, the cluster's identity, the migration lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftdjango.applier.faults import Refused
from raftdjango.applier.keys import lease
from raftdjango.applier.tables import LOCK, MEMBER, STATE
from raftdjango.writeset import (
    Barrier,
    BindIncarnation,
    FormCluster,
    KeyLease,
    MigrationLock,
    Verdict,
    VerdictKind,
)

if TYPE_CHECKING:
    import sqlite3

    from raftdjango.applier.schema import Schema
    from raftdjango.writeset import Body

MIGRATION_LOCK = "migration"
FENCE = "fence"
"""Message of the conflict: part of stored verdicts, a word for programs."""
_APPLIED = Verdict(VerdictKind.APPLIED)
_FENCED_OFF = Verdict(VerdictKind.CONFLICT, message=FENCE)


def run(cursor: sqlite3.Cursor, schema: Schema, body: Body, time_ms: int) -> Verdict:
    """Execute a command that is no write-set."""
    if isinstance(body, KeyLease):
        return lease(cursor, schema, body)
    if isinstance(body, FormCluster):
        return _form(cursor, body)
    if isinstance(body, BindIncarnation):
        return _bind(cursor, body)
    if isinstance(body, MigrationLock):
        return _lock(cursor, body, time_ms)
    if isinstance(body, Barrier):
        return _APPLIED
    raise TypeError(f"{type(body).__name__} is no command.")


def _form(cursor: sqlite3.Cursor, command: FormCluster) -> Verdict:
    """The first one names the cluster; a later one, of a leader that did not know, does nothing."""
    changed = cursor.execute(
        f"UPDATE main.{STATE} SET cluster_id = ?, group_name = ? WHERE cluster_id IS NULL",
        (command.cluster_id, command.group),
    ).rowcount
    if changed:
        cursor.executemany(
            f"INSERT OR IGNORE INTO main.{MEMBER} (node_id, url) VALUES (?, ?)", command.nodes
        )
    return _APPLIED


def _bind(cursor: sqlite3.Cursor, command: BindIncarnation) -> Verdict:
    cursor.execute(
        f"INSERT INTO main.{MEMBER} (node_id, url, incarnation) VALUES (?, '', ?) ON CONFLICT (node_id)"
        " DO UPDATE SET incarnation = excluded.incarnation WHERE incarnation IS NULL",
        (command.node_id, command.incarnation),
    )
    ((bound,),) = cursor.execute(
        f"SELECT incarnation FROM main.{MEMBER} WHERE node_id = ?", (command.node_id,)
    ).fetchall()
    if bound != command.incarnation:
        raise Refused(
            Verdict(VerdictKind.CONFLICT, table=MEMBER, key=(command.node_id,), message="bound")
        )
    return _APPLIED


def _lock(cursor: sqlite3.Cursor, command: MigrationLock, time_ms: int) -> Verdict:
    """Granted if nobody else holds it; a holder that died loses it when its time is over."""
    if command.release:
        released = cursor.execute(
            f"DELETE FROM main.{LOCK} WHERE name = ? AND holder = ?",
            (MIGRATION_LOCK, command.holder),
        ).rowcount
        return Verdict(VerdictKind.APPLIED, granted=bool(released))
    if command.renew:
        renewed = cursor.execute(
            f"UPDATE main.{LOCK} SET until_ms = ? WHERE name = ? AND holder = ?",
            (command.until_ms, MIGRATION_LOCK, command.holder),
        ).rowcount
        return Verdict(VerdictKind.APPLIED, granted=bool(renewed))
    granted = cursor.execute(
        f"INSERT INTO main.{LOCK} (name, holder, until_ms) VALUES (?, ?, ?) ON CONFLICT (name)"
        " DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms"
        " WHERE holder = excluded.holder OR until_ms < ?",
        (MIGRATION_LOCK, command.holder, command.until_ms, time_ms),
    ).rowcount
    return Verdict(VerdictKind.APPLIED, granted=bool(granted))


def check_fence(cursor: sqlite3.Cursor, fence: bytes) -> None:
    """Refuse what a `migrate` does that has lost the lock: another may have done it meanwhile.

    Whether the lock's time is over is no matter: as long as nobody else took it, nobody else migrated.
    """
    if lock_holder(cursor)[0] != fence:
        raise Refused(_FENCED_OFF)


def lock_holder(cursor: sqlite3.Cursor) -> tuple[bytes | None, int]:
    """Who has the migration lock, and until when in cluster time; (None, 0): nobody ever."""
    rows = cursor.execute(
        f"SELECT holder, until_ms FROM main.{LOCK} WHERE name = ?", (MIGRATION_LOCK,)
    ).fetchall()
    return rows[0] if rows else (None, 0)
