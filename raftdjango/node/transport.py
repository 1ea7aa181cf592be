"""The way to a group's peers, and their way in: lanes out, `receive` in.

Everything here runs on the loop except the `LaneOwner` methods, which the lanes' threads call.
Items are carried at most once and may be lost, reordered or late; Raft is made for that.

Order still matters for speed: an AppendEntries that overtakes another is refused for its gap and
sent again.  So entries travel on one lane only, one request at a time.  Everything else that is
ready while a peer's request is being answered rides back in that answer, which spares a request.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from raftcore.errors import Malformed
from raftcore.messages import (
    AppendEntries,
    Heartbeat,
    HeartbeatResponse,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from raftdjango.node.batches import decode_batch, make_batch, nodes_of
from raftdjango.node.forming import PeerRefused
from raftdjango.node.fragments import BATCH_OVERHEAD, FragmentRefused, Partials
from raftdjango.node.lanes import Lane, LanePlan, Peer
from raftdjango.node.outbox import size_of
from raftdjango.node.peer_pb2 import Batch, Forward, ForwardAnswer, Fragment
from raftdjango.node.signing import Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftdjango.conf import Settings
    from raftdjango.node.forming import Forming, Nodes
    from raftdjango.node.peers import PeerItem, Receiver
    from raftdjango.node.signing import Envelope, Standing

logger = logging.getLogger("raftdjango.node")

CONTROL = (
    Heartbeat,
    HeartbeatResponse,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
CONTROL_ITEMS_MAX = 64
ENTRIES_ITEMS_MAX = 16384
OUTBOX_OVERHEAD = 16 * 1024 * 1024
"""What the entries lane queues beyond one entry of the largest size."""
RIDE_BYTES = 256 * 1024
"""What rides back in one answer."""
JOIN_S = 0.2


def messages_path(group: str) -> str:
    """Path of a group's `messages` endpoint, as it is signed."""
    return f"/raft/v1/{group}/messages"


class Link:
    """One peer: its lanes, its unfinished batches, and what may ride back in an answer to it."""

    def __init__(self, settings: Settings, peer: Peer, signer: Signer, owner: Transport) -> None:
        election_s = settings.election_timeout_ms / 1000
        heartbeat_s = settings.heartbeat_ms / 1000
        largest = settings.transaction_bytes_max
        control = LanePlan(
            "control", CONTROL_ITEMS_MAX, BATCH_OVERHEAD, election_s / 2, heartbeat_s
        )
        entries = LanePlan(
            "entries", ENTRIES_ITEMS_MAX, largest + OUTBOX_OVERHEAD, 2 * election_s, 1.0
        )
        self.control = Lane(control, peer, signer, owner)
        self.entries = Lane(entries, peer, signer, owner)
        self.lanes = (self.control, self.entries)
        self.partials = Partials(largest + BATCH_OVERHEAD)
        self.riding: list[PeerItem] = []
        self.answering = 0
        self.admitted: tuple[Standing, int] | None = None
        """Peer and `Forming.revision` when the peer was let in: the check needs no repetition."""
        self.refused = ""

    def lane_of(self, item: PeerItem) -> Lane:
        """Which lane carries `item`."""
        return self.control if isinstance(item, CONTROL) else self.entries

    def may_ride(self, item: PeerItem) -> bool:
        """Whether `item` may go into an answer without overtaking anything that matters."""
        if isinstance(item, AppendEntries):
            return not item.entries and self.entries.outbox.empty
        return not isinstance(item, Forward)


class Exchange:
    """A peer's request that has been taken in; `reply` is asked for once, when it is answered."""

    def __init__(self, link: Link, fragment: Fragment | None) -> None:
        self._link = link
        self._fragment = fragment

    def reply(self) -> Batch:
        """What goes back: everything ready for that peer by now."""
        riding, self._link.riding = self._link.riding, []
        batch: list[PeerItem] = []
        late: list[PeerItem] = []
        size = 0
        for item in riding:
            size += size_of(item)
            (batch if size <= RIDE_BYTES else late).append(item)
        self._link.riding = late
        reply = make_batch(batch)
        if self._fragment is not None:
            reply.fragment.CopyFrom(self._fragment)
        return reply


class Transport:
    """A group's `PeerTransport`."""

    def __init__(
        self,
        settings: Settings,
        group: str,
        node_id: str,
        *,
        forming: Forming,
        receiver: Receiver,
    ) -> None:
        self.group = group
        self.forming = forming
        self.signer = Signer(group, node_id, settings.secret, settings.secret_fallbacks)
        self._receiver = receiver
        self._loop: asyncio.AbstractEventLoop | None = None
        path = messages_path(group)
        self._links = {
            peer_id: Link(settings, Peer(peer_id, url, path), self.signer, self)
            for peer_id, url in forming.members.items()
            if peer_id != node_id
        }

    async def start(self) -> None:
        """Begin to carry."""
        self._loop = asyncio.get_running_loop()
        for link in self._links.values():
            for lane in link.lanes:
                lane.start()

    async def stop(self) -> None:
        """End; what is queued is dropped.  A thread in a request ends when that does."""
        lanes = [lane for link in self._links.values() for lane in link.lanes]
        for lane in lanes:
            lane.stop()
        for lane in lanes:
            await asyncio.to_thread(lane.join, JOIN_S)
        self._loop = None

    # -- out -----------------------------------------------------------------------------------

    def send(self, to: str, item: PeerItem) -> None:
        """Queue `item`; called on the loop, never blocks, drops the oldest when full."""
        link = self._links.get(to)
        if link is None or not self._lets_out(item):
            return
        if link.answering and link.may_ride(item):
            link.riding.append(item)
        else:
            self._put(to, link, item)

    def _lets_out(self, item: PeerItem) -> bool:
        return isinstance(item, Forward | ForwardAnswer) or self.forming.lets_out(item)

    def _put(self, to: str, link: Link, item: PeerItem) -> None:
        if dropped := link.lane_of(item).outbox.put(item):
            self._receiver.on_undelivered(to, dropped)

    # -- in ------------------------------------------------------------------------------------

    def admit(self, sender: Standing, nodes: Callable[[], Nodes] = tuple) -> None:
        """Raise `PeerRefused` unless `sender` may take part; `nodes()` is what it would form from."""
        self._admit(sender, nodes)

    def receive(self, envelope: Envelope, batch: Batch) -> Exchange:
        """Take a verified request in.

        Raises `PeerRefused` for whom to refuse, `Malformed` or `FragmentRefused` for what.
        """
        sender = envelope.sender
        link = self._admit(sender, lambda: nodes_of(batch))
        fragment = None
        if batch.HasField("fragment"):
            piece = batch.fragment
            received, whole = link.partials.add(piece)
            fragment = Fragment(digest=piece.digest, received=received)
            if whole is not None:
                batch = _parse(whole)
        items = decode_batch(batch)
        self._open(sender.node_id, link)
        self._deliver(link, sender, items)
        return Exchange(link, fragment)

    def _admit(self, sender: Standing, nodes: Callable[[], Nodes] = tuple) -> Link:
        link = self._links.get(sender.node_id)
        if link is not None and link.admitted == (sender, self.forming.revision):
            return link
        try:
            self.forming.admit(sender, nodes)
            if link is None:
                # A member that this transport was not started with.
                raise PeerRefused("not_a_member", f"Node {sender.node_id!r} is not known here.")
        except PeerRefused as error:
            self._tell_refusal(link, error)
            raise
        link.admitted, link.refused = (sender, self.forming.revision), ""
        return link

    def _tell_refusal(self, link: Link | None, error: PeerRefused) -> None:
        if link is None or link.refused != error.code:
            logger.warning("Group %r refuses a peer: %s", self.group, error.detail)
        if link is not None:
            link.admitted, link.refused = None, error.code

    def _deliver(self, link: Link, sender: Standing, items: Sequence[PeerItem]) -> None:
        allowed = [
            item
            for item in items
            if isinstance(item, Forward | ForwardAnswer) or self.forming.lets_in(sender, item)
        ]
        if allowed:
            self._receiver.on_batch(sender.node_id, allowed)

    # -- what rides back -----------------------------------------------------------------------

    def _open(self, to: str, link: Link) -> None:
        """From now until the answer leaves, what is ready for `to` waits for it.

        The answer is made after one more turn of the loop (see `raftdjango.node.http`); what is
        there after that, for whatever reason, goes by lane.
        """
        link.answering += 1
        if self._loop is None:
            return
        self._loop.call_soon(self._loop.call_soon, self._close, to, link)

    def _close(self, to: str, link: Link) -> None:
        link.answering -= 1
        late, link.riding = link.riding, []
        for item in late:
            self._put(to, link, item)

    # -- LaneOwner: called from the lanes' threads ---------------------------------------------

    @property
    def standing(self) -> Standing:
        """What this node says of itself."""
        return self.forming.standing

    @property
    def nodes(self) -> Nodes:
        """The configuration this node would form from."""
        return self.forming.nodes

    def delivered(self, sender: Standing, items: list[PeerItem]) -> None:
        """A peer answered."""
        link = self._links[sender.node_id]
        if items or link.admitted != (sender, self.forming.revision):
            self._on_loop(self._answered, sender, items)

    def undelivered(self, to: str, items: Sequence[PeerItem]) -> None:
        """A request failed."""
        self._on_loop(self._receiver.on_undelivered, to, items)

    def _on_loop(self, call: object, *args: object) -> None:
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(call, *args)  # type: ignore[arg-type]
        except RuntimeError:
            logger.debug("The loop has ended; what a peer said is dropped.")

    def _answered(self, sender: Standing, items: list[PeerItem]) -> None:
        try:
            link = self._admit(sender)
        except PeerRefused:
            return
        self._deliver(link, sender, items)


def _parse(whole: bytes) -> Batch:
    try:
        return Batch.FromString(whole)
    except DecodeError as error:
        raise Malformed(f"the pieces give no batch: {error}") from error


__all__ = ["Exchange", "FragmentRefused", "Transport", "messages_path"]
