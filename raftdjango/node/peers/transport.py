"""The way to a group's peers, and their way in: lanes out, `receive` in.

Everything here runs on the loop.
Items are carried at most once and may be lost, reordered or late; Raft is made for that.

Which way and when an item travels is the business of `links`; here is who may say what.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from raftdjango.node.forming.decisions import PeerRefused
from raftdjango.node.peers.batches import decode_batch, decode_large, nodes_of
from raftdjango.node.peers.calls import Peer
from raftdjango.node.peers.fragments import PARTIAL_MAX, FragmentRefused
from raftdjango.node.peers.links import Link
from raftdjango.node.peers.peer_pb2 import Batch, ForwardAnswer, Fragment, MemberFacts, Turn
from raftdjango.node.peers.port import Forward
from raftdjango.node.peers.signing import Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftdjango.conf import Settings
    from raftdjango.node.forming.decisions import Forming, Nodes
    from raftdjango.node.peers.fragments import Whole
    from raftdjango.node.peers.links import Exchange
    from raftdjango.node.peers.port import PeerItem, Receiver
    from raftdjango.node.peers.signing import Envelope, Standing

logger = logging.getLogger("raftdjango.node")

NOT_RAFT = (Forward, ForwardAnswer, MemberFacts, Turn)
"""Items that lead nobody: `Forming` judges messages of the core only."""


def messages_path(group: str) -> str:
    """Path of a group's `messages` endpoint, as it is signed."""
    return f"/raft/v1/{group}/messages"


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
        self._path = path = messages_path(group)
        self._links = {
            peer_id: Link(
                settings,
                Peer(peer_id, url, path),
                self.signer,
                self,
                on_dropped=receiver.on_undelivered,
            )
            for peer_id, url in forming.members.items()
            if peer_id != node_id
        }
        self._unpacker = ThreadPoolExecutor(1, f"raft-unpack-{group}")
        self._unpacking: dict[asyncio.Task[Exchange], str] = {}
        """Large batches that are being taken apart, and their senders."""

    async def start(self) -> None:
        """Begin to carry."""
        loop = asyncio.get_running_loop()
        for link in self._links.values():
            link.start(loop)

    async def stop(self) -> None:
        """End; what is queued is dropped."""
        for link in self._links.values():
            link.stop()
        for task in tuple(self._unpacking):
            task.cancel()
        self._unpacker.shutdown(wait=False, cancel_futures=True)

    # -- out -----------------------------------------------------------------------------------

    def send(self, to: str, item: PeerItem) -> None:
        """Queue `item`; called on the loop, never blocks, drops the oldest when full."""
        link = self._links.get(to)
        if link is not None and (isinstance(item, NOT_RAFT) or self.forming.lets_out(item)):
            link.send(item)

    def flush(self) -> None:
        """Have what was sent leave with this turn of the loop."""
        for link in self._links.values():
            link.flush()

    # -- in ------------------------------------------------------------------------------------

    def receive(self, envelope: Envelope, batch: Batch) -> Exchange | asyncio.Task[Exchange]:
        """Take a verified request in; the last piece of a large batch takes a while.

        Raises `PeerRefused` for whom to refuse, `Malformed` or `FragmentRefused` for what; so does
        the task.  It goes on when nobody waits for it any more: what has come counts.
        """
        link = self._admit(envelope.sender, lambda: nodes_of(batch))
        fragment = None
        if batch.HasField("fragment"):
            piece = batch.fragment
            received, whole = link.partials.add(piece)
            fragment = Fragment(digest=piece.digest, received=received)
            if whole is not None:
                return self._unpack(envelope, fragment, whole)
        return self._take(link, envelope, fragment, decode_batch(batch))

    def _unpack(
        self, envelope: Envelope, fragment: Fragment, whole: Whole
    ) -> asyncio.Task[Exchange]:
        """Take a large batch in, which a thread takes apart: heartbeats must not wait for that.

        The peer sends nothing more by this lane before it is answered, so the order stays.
        """
        sender = envelope.sender

        async def taken() -> Exchange:
            loop = asyncio.get_running_loop()
            items = await loop.run_in_executor(self._unpacker, _items_of, whole)
            # Whoever was let in with the piece need not be any more.
            return self._take(self._admit(sender), envelope, fragment, items)

        if list(self._unpacking.values()).count(sender.node_id) >= PARTIAL_MAX:
            raise FragmentRefused("busy", "Earlier batches of this peer are still being read.")
        task = asyncio.get_running_loop().create_task(taken())
        self._unpacking[task] = sender.node_id
        task.add_done_callback(self._unpacking.pop)
        return task

    def _take(
        self, link: Link, envelope: Envelope, fragment: Fragment | None, items: Sequence[PeerItem]
    ) -> Exchange:
        exchange = link.open(items, fragment, seal=lambda body: self.seal(200, body, envelope))
        try:
            self._deliver(link, envelope.sender, items)
        except BaseException:
            exchange.close()
            raise
        return exchange

    def seal(self, status: int, body: bytes, request: Envelope) -> str:
        """The header that signs the answer to `request`."""
        return self.signer.sign_response(
            status, self._path, body, request=request, sender=self.standing
        )

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
            if isinstance(item, NOT_RAFT) or self.forming.lets_in(sender, item)
        ]
        if allowed:
            link.heard(allowed)
            self._receiver.on_batch(sender.node_id, allowed)

    # -- LaneOwner -----------------------------------------------------------------------------

    @property
    def standing(self) -> Standing:
        """What this node says of itself."""
        return self.forming.standing

    @property
    def nodes(self) -> Nodes:
        """The configuration this node would form from."""
        return self.forming.nodes

    def delivered(self, sender: Standing, items: Sequence[PeerItem]) -> None:
        """A peer answered."""
        try:
            link = self._admit(sender)
        except PeerRefused:
            return
        self._deliver(link, sender, items)

    def undelivered(self, to: str, items: Sequence[PeerItem]) -> None:
        """A request failed."""
        self._receiver.on_undelivered(to, items)


def _items_of(whole: Whole) -> list[PeerItem]:
    return decode_large(whole.content())
