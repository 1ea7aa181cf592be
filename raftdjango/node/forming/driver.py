"""Drives the forming of a cluster: what to propose as a leader, what the log and database say.

The decisions are those of `decisions.py`; here is when they are asked.  Until the cluster has an id
nobody's proposals are taken, so that every command in such a log is one of these.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from raftcore.types import EntryKind
from raftdjango.client import proposal_ids
from raftdjango.node.writes.proposals import Refusal
from raftdjango.writeset import (
    BindIncarnation,
    Command,
    FormCluster,
    MalformedCommand,
    decode_command,
    encode_command,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from raftcore.storage.protocol import LogReader
    from raftcore.types import Entry
    from raftdjango.applier import Applied
    from raftdjango.node.database import MemberRow
    from raftdjango.node.forming.decisions import Forming
    from raftdjango.node.writes.proposals import Proposals

logger = logging.getLogger("raftdjango.node")

TIMEOUT_S = 10.0
"""Of the commands proposed here; what is still missing then is proposed again."""
UNFORMED_LOG_ENTRIES_MAX = 10_000
"""Entries looked through at start for an id that was logged and not applied."""


class Formation:
    """One group's forming.  Lives on the loop."""

    def __init__(
        self,
        forming: Forming,
        proposals: Proposals,
        *,
        now: Callable[[], float],
        on_formed: Callable[[bytes], None],
    ) -> None:
        self._forming = forming
        self._proposals = proposals
        self._now = now
        self._on_formed = on_formed
        self._logged: dict[int, bytes] = {}
        """Cluster ids in this node's log by index, until one is applied."""
        self._bound: set[str] = set()
        self._under_way: set[str] = set()
        """Node ids whose binding is proposed; the empty one is the cluster's own id."""

    @property
    def cluster_id(self) -> bytes:
        """Empty until the database names a cluster."""
        return self._forming.standing.cluster

    @property
    def is_complete(self) -> bool:
        """Every member is bound: only then may the database be left unread for news."""
        return bool(self.cluster_id) and self._bound >= set(self._forming.members)

    def recall(self, cluster_id: bytes, members: Iterable[MemberRow], log: LogReader) -> None:
        """Take up what database and log say at start."""
        self.on_members(cluster_id, members)
        if not self.cluster_id and log.last_index:
            last = min(log.last_index, log.first_index + UNFORMED_LOG_ENTRIES_MAX)
            index = log.first_index
            while index <= last:
                entries = log.entries(index, last, 1 << 20)
                self.on_persist(entries)
                index = entries[-1].index + 1

    def on_persist(self, entries: Iterable[Entry]) -> None:
        """Entries about to be written to this node's log."""
        if self.cluster_id:
            return
        for entry in entries:
            for index in [index for index in self._logged if index >= entry.index]:
                del self._logged[index]
            if entry.kind is EntryKind.COMMAND and (cluster_id := _forms(entry.data)):
                self._logged[entry.index] = cluster_id
        first = min(self._logged, default=0)
        self._forming.has_logged(self._logged.get(first, b""))

    def on_members(self, cluster_id: bytes, members: Iterable[MemberRow]) -> None:
        """What the database says of the cluster, at start and after it has changed."""
        if not cluster_id:
            return
        rows = list(members)
        if not self.cluster_id:
            self._forming.has_formed(cluster_id, {row.node_id: row.url for row in rows})
            self._logged.clear()
            self._on_formed(cluster_id)
        for row in rows:
            if row.incarnation and row.node_id not in self._bound:
                self._bound.add(row.node_id)
                self._forming.has_bound(row.node_id, row.incarnation)

    def lead(self) -> None:
        """As the leader, propose what is missing; called now and then, cheap when nothing is."""
        if not self.cluster_id:
            if (command := self._forming.form_command()) is not None:
                self._propose("", command)
            return
        for node_id, incarnation in self._forming.unbound():
            self._propose(node_id, BindIncarnation(node_id, incarnation))

    def _propose(self, node_id: str, body: FormCluster | BindIncarnation) -> None:
        if node_id in self._under_way:
            return
        self._under_way.add(node_id)

        def settled(end: Applied | Refusal) -> None:
            self._under_way.discard(node_id)
            if isinstance(end, Refusal):
                logger.debug("Forming: %r was not settled (%s)", node_id, end.message)

        proposal_id = proposal_ids.next()
        # Never expires: cluster time has barely begun, and a repeat is harmless.
        self._proposals.submit(
            proposal_id,
            encode_command(Command(proposal_id, 0, body)),
            deadline=self._now() + TIMEOUT_S,
            settled=settled,
            internal=True,
        )


def _forms(data: bytes) -> bytes:
    """The cluster id that a command gives, if it gives one."""
    try:
        body = decode_command(data).body
    except MalformedCommand:
        return b""
    return body.cluster_id if isinstance(body, FormCluster) else b""
