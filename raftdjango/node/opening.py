"""Opens one group from disk: identity, log, database and core, in the order in which each can refuse.

Nothing is written to a database file, and no log begun, before it is clear that they belong
together and to this node.
"""

from __future__ import annotations

import random
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from raftcore import Config, Membership, RaftCore
from raftcore.errors import InvariantViolation
from raftcore.storage.errors import StorageError
from raftcore.storage.wal import WriteAheadLog
from raftdjango.applier import Applier, EnvironmentFault, open_database
from raftdjango.node.consensus.loop import monotonic_ms
from raftdjango.node.data_dir import check_socket_path, open_identity
from raftdjango.node.database import check_file, check_state, read_members
from raftdjango.node.errors import StartRefused
from raftdjango.node.forming.decisions import Forming
from raftdjango.right_of_way.lock_file import RightOfWay

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from raftdjango.applier import AppliedState
    from raftdjango.conf import Settings
    from raftdjango.node.data_dir import Identity
    from raftdjango.node.database import MemberRow

APPLIER_PATIENCE_S = 1.0
"""After so long without the write lock the applier thread looks up, so that it can be stopped."""


@dataclass(slots=True)
class OpenedGroup:
    """Everything of one group that lives on disk, and the core over it."""

    name: str
    settings: Settings
    database: Path
    group_dir: Path
    identity: Identity
    store: WriteAheadLog
    connection: sqlite3.Connection
    applier: Applier
    right_of_way: RightOfWay
    core: RaftCore
    forming: Forming
    state: AppliedState
    """As it was at start; the applier goes on from there."""
    members: tuple[MemberRow, ...] = field(default=())

    def read_members(self) -> tuple[MemberRow, ...]:
        """The members as the database has them now; called by whoever applies."""
        return read_members(self.connection)

    def close(self) -> None:
        """Release files."""
        self.store.close()
        self.connection.close()


def check_before_writing(settings: Settings, databases: Mapping[str, Path]) -> None:
    """All that can be refused by looking only; raises `StartRefused`."""
    for name, database in databases.items():
        check_socket_path(settings.socket_path(name))
        check_file(database)


def open_group(settings: Settings, name: str, database: Path) -> OpenedGroup:
    """Open a group and its database file; raises `StartRefused`."""
    group_dir = settings.group_dir(name)
    identity = open_identity(group_dir, group=name, node_id=settings.node_id)
    try:
        store = WriteAheadLog.open(group_dir / "log")
    except (StorageError, OSError) as error:
        raise StartRefused(f"The log of group {name} cannot be used: {error}") from error
    try:
        return _open_with(store, settings, database, identity)
    except BaseException:
        store.close()
        raise


def _open_with(
    store: WriteAheadLog, settings: Settings, database: Path, identity: Identity
) -> OpenedGroup:
    name = identity.group
    group_dir = settings.group_dir(name)
    right_of_way = RightOfWay.open(group_dir)
    try:
        connection = open_database(database)
        applier = Applier(connection, waiting=right_of_way.wanted, patience_s=APPLIER_PATIENCE_S)
        applier.prepare()
    except (sqlite3.Error, EnvironmentFault) as error:
        raise StartRefused(f"Database file {database} cannot be used: {error}") from error
    try:
        check_state(database, applier.state, identity, store, group_dir)
        return OpenedGroup(
            name=name,
            settings=settings,
            database=database,
            group_dir=group_dir,
            identity=identity,
            store=store,
            connection=connection,
            applier=applier,
            right_of_way=right_of_way,
            core=_core(settings, store, applier.state.applied_index),
            forming=Forming(
                name,
                settings.node_id,
                settings.nodes,
                identity.incarnation,
                memory=group_dir / "peers.json",
            ),
            state=applier.state,
            members=read_members(connection),
        )
    except BaseException:
        connection.close()
        raise


def _core(settings: Settings, store: WriteAheadLog, applied_index: int) -> RaftCore:
    try:
        config = Config(
            node_id=settings.node_id,
            election_timeout_ms=settings.election_timeout_ms,
            heartbeat_ms=settings.heartbeat_ms,
        )
    except ValueError as error:
        raise StartRefused(f"RAFTDJANGO: {error}.") from error
    try:
        return RaftCore(
            config,
            store,
            hard_state=store.hard_state,
            bootstrap=Membership(voters=frozenset(settings.nodes)),
            applied_index=applied_index,
            rng=random.Random(),  # noqa: S311 - spreads elections, guards nothing
            now_ms=monotonic_ms(),
        )
    except InvariantViolation as error:
        raise StartRefused(f"The log cannot be gone on with: {error}") from error
