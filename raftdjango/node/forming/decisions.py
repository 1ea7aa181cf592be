"""How a cluster comes to be, and who belongs to it.  Decisions only: no sockets, one small file.

Until a cluster has an id, the digest of group and sorted `NODES` says which cluster a message is
about.  The first leader writes a random id as an entry; a node *has* the id once it has applied
that entry.  Three mistakes must be impossible:

* Two lists form two clusters that share nodes: other digests are refused, naming both lists.
* A wiped node votes twice: each data directory's random incarnation travels with every message, is
  remembered at first contact, and is bound in the log by the leader.
* Wiped nodes form a second cluster beside the first: a node that has an id answers nobody's
  bootstrap vote, and a node that has been told of an id by a member no longer takes part in
  forming one.  (A majority wiped at once, with every survivor unreachable, cannot know; the
  survivors will refuse it by name.)

A late third node has no id either and must still be let in.  It may *answer* members of the formed
cluster (its votes and acknowledgements are as good as any, since its incarnation is not known to
have given others) but may not lead: it is told the id through the log.  A node whose log holds the
id's entry, not applied yet, may lead too: otherwise it could be the one node with the newest log
and never be elected.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from raftcore.messages import AppendEntries, Heartbeat, PreVote, RequestVote, TimeoutNow
from raftdjango.node.data_dir import sync_folder
from raftdjango.node.peers.signing import Standing
from raftdjango.writeset.parts import FormCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from raftcore.messages import Message

logger = logging.getLogger("raftdjango.node")

LEADING = (PreVote, RequestVote, AppendEntries, Heartbeat, TimeoutNow)
"""What only a member of the same cluster may say; the others are answers."""

Nodes = tuple[tuple[str, str], ...]
"""(node id, URL), sorted."""


class PeerRefused(Exception):
    """A genuine message of somebody who may not take part; says why and what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def sorted_nodes(nodes: Mapping[str, str] | Iterable[tuple[str, str]]) -> Nodes:
    """Canonical form of a configuration: sorted, URLs without a trailing slash."""
    pairs = nodes.items() if hasattr(nodes, "items") else nodes
    return tuple(sorted((node_id, url.rstrip("/")) for node_id, url in pairs))


def forming_digest(group: str, nodes: Nodes) -> bytes:
    """16 bytes that are equal on nodes that would form the same cluster."""
    text = json.dumps(["raftdjango forming 1", group, nodes], separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def describe(nodes: Nodes) -> str:
    """A configuration for an error message."""
    return "{" + ", ".join(f"{node_id}: {url}" for node_id, url in nodes) + "}"


class Forming:
    """What one node knows of its group's identity and members.  Used on the loop only.

    The node calls `has_formed`, `has_logged` and `has_bound` as it learns; the transport asks
    `admit` (whole peers) and `lets_in` / `lets_out` (single messages).
    """

    def __init__(
        self,
        group: str,
        node_id: str,
        nodes: Mapping[str, str],
        incarnation: bytes,
        *,
        memory: Path | None = None,
    ) -> None:
        """`memory`: file that keeps first contacts over restarts."""
        self.group = group
        self.nodes = sorted_nodes(nodes)
        self.members = dict(self.nodes)
        """Node ids and URLs of the cluster, or of the list it would form from."""
        self.standing = Standing(
            node_id, forming=forming_digest(group, self.nodes), incarnation=incarnation
        )
        """Sent with every message; replaced as a whole, so threads may read it."""
        self.revision = 0
        """Rises whenever an answer of `admit` could change."""
        self.bound: dict[str, bytes] = {}
        """Incarnations that the log binds to node ids."""
        self._seen: dict[str, bytes] = {}
        self._told = b""
        self._memory = memory
        self._recall()

    # -- what the node learns ------------------------------------------------------------------

    def has_formed(self, cluster_id: bytes, nodes: Mapping[str, str] | Nodes) -> None:
        """The database names its cluster (read at start, or `FormCluster` was just applied)."""
        formed = sorted_nodes(nodes)
        if formed != self.nodes:
            logger.warning(
                "Group %r has formed with %s; RAFTDJANGO['NODES'] says %s. NODES only says how a "
                "cluster first forms and is ignored now; correct it to avoid confusion.",
                self.group,
                describe(formed),
                describe(self.nodes),
            )
        self.members = dict(formed)
        self.revision += 1
        self.standing = replace(
            self.standing,
            cluster=cluster_id,
            logged=b"",
            forming=forming_digest(self.group, formed),
        )

    def has_logged(self, cluster_id: bytes) -> None:
        """The first `FormCluster` of this node's log, applied or not; empty: it holds none."""
        if not self.standing.cluster and self.standing.logged != cluster_id:
            self.standing = replace(self.standing, logged=cluster_id)

    def has_bound(self, node_id: str, incarnation: bytes) -> None:
        """A `BindIncarnation` was applied, or read at start.  The first of a node id wins."""
        self.bound.setdefault(node_id, incarnation)
        self.revision += 1

    # -- what the leader proposes --------------------------------------------------------------

    def form_command(self) -> FormCluster | None:
        """For a leader of a group without an id: the command that gives it one."""
        if self.standing.cluster or self.standing.logged:
            return None
        return FormCluster(cluster_id=os.urandom(16), group=self.group, nodes=self.nodes)

    def unbound(self) -> list[tuple[str, bytes]]:
        """Incarnations of members, this node included, that the log does not bind yet."""
        known = {**self._seen, self.standing.node_id: self.standing.incarnation}
        return sorted(
            (node_id, incarnation)
            for node_id, incarnation in known.items()
            if node_id not in self.bound and node_id in self.members
        )

    @property
    def evicted(self) -> str:
        """Why this very node may not take part any more; empty where it may."""
        me = self.standing
        bound = self.bound.get(me.node_id, me.incarnation)
        return "" if bound == me.incarnation else self._other_incarnation(me.node_id, bound)

    # -- what the transport asks ---------------------------------------------------------------

    def admit(self, peer: Standing, peer_nodes: Callable[[], Nodes] = tuple) -> None:
        """Raise `PeerRefused` unless `peer` may take part; remember it at first contact."""
        me = self.standing
        if me.cluster and peer.cluster and me.cluster != peer.cluster:
            raise PeerRefused(
                "wrong_cluster",
                f"Node {me.node_id!r} belongs to cluster {me.cluster.hex()}, node {peer.node_id!r} "
                f"to cluster {peer.cluster.hex()}. They never mix: point one of them elsewhere.",
            )
        if peer.forming != me.forming and not (me.cluster and peer.cluster):
            told = peer_nodes()
            theirs = describe(told) if told else "another list"
            raise PeerRefused(
                "different_nodes",
                f"Node {me.node_id!r} has RAFTDJANGO['NODES'] = {describe(tuple(self.members.items()))} "
                f"for group {self.group!r}, node {peer.node_id!r} has {theirs}. "
                "Make them equal on every node.",
            )
        if peer.node_id not in self.members:
            raise PeerRefused(
                "not_a_member",
                f"Node {peer.node_id!r} is not a member of group {self.group!r} as node "
                f"{me.node_id!r} knows it: {describe(tuple(self.members.items()))}.",
            )
        self._check_incarnation(peer)
        self._check_told(peer)

    def _check_incarnation(self, peer: Standing) -> None:
        known = self.bound.get(peer.node_id) or self._seen.get(peer.node_id)
        if known is None:
            self._seen[peer.node_id] = peer.incarnation
            self._remember()
        elif known != peer.incarnation:
            raise PeerRefused("other_incarnation", self._other_incarnation(peer.node_id, known))

    def _other_incarnation(self, node_id: str, known: bytes) -> str:
        return (
            f"Node id {node_id!r} belongs to the data directory with incarnation {known.hex()}, "
            "and this one is another: it was made anew and has forgotten what it voted and "
            "acknowledged. Bring the former DATA_DIR and database file back, or remove "
            f"{node_id!r} from the cluster and add this machine under a new node id."
        )

    def _check_told(self, peer: Standing) -> None:
        if self.standing.cluster or not peer.cluster:
            return
        if self._told and self._told != peer.cluster:
            raise PeerRefused(
                "wrong_cluster",
                f"Node {self.standing.node_id!r} was told that it belongs to cluster "
                f"{self._told.hex()}, but node {peer.node_id!r} belongs to {peer.cluster.hex()}.",
            )
        if not self._told:
            logger.info(
                "Group %r: node %s says that cluster %s exists; waiting to be let in.",
                self.group,
                peer.node_id,
                peer.cluster.hex(),
            )
            self._told = peer.cluster
            self.revision += 1
            self._remember()

    def lets_in(self, peer: Standing, message: Message) -> bool:
        """Whether a message of an admitted peer may reach the core."""
        cluster = self.standing.cluster or self._told
        if not cluster or not isinstance(message, LEADING):
            return True
        return cluster in (peer.cluster, peer.logged)

    def lets_out(self, message: Message) -> bool:
        """Whether this node may say this: not once it knows of a cluster that it does not hold."""
        me = self.standing
        if me.cluster or not self._told or me.logged == self._told:
            return True
        return not isinstance(message, LEADING)

    # -- first contacts, kept over restarts ----------------------------------------------------

    def _recall(self) -> None:
        if self._memory is None or not self._memory.exists():
            return
        fields = json.loads(self._memory.read_text(encoding="utf-8"))
        self._seen = {name: bytes.fromhex(value) for name, value in fields["seen"].items()}
        self._told = bytes.fromhex(fields["told"])

    def _remember(self) -> None:
        """Durable before the first answer: a few times in a node's life, so the loop may wait."""
        if self._memory is None:
            return
        fields = {
            "seen": {name: value.hex() for name, value in self._seen.items()},
            "told": self._told.hex(),
        }
        temporary = self._memory.with_suffix(".new")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(fields, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._memory)
        sync_folder(self._memory.parent)
