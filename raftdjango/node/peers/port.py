"""What the consensus loop needs of the way to its peers; `transport.py` is the real one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftcore.messages import Message
    from raftcore.types import NodeId
    from raftdjango.node.peers.peer_pb2 import ForwardAnswer, MemberFacts, Turn


@dataclass(frozen=True, slots=True)
class Forward:
    """A proposal for the leader.  No protobuf message: one copies its bytes whenever it is asked."""

    proposal_id: bytes
    command: bytes = b""


if TYPE_CHECKING:
    PeerItem = Message | Forward | ForwardAnswer | MemberFacts | Turn


class PeerTransport(Protocol):
    """Carries items to peers, at most once each, in any order, or not at all."""

    def send(self, to: NodeId, item: PeerItem) -> None:
        """Queue an item; called on the loop, never blocks, drops when full."""

    def flush(self) -> None:
        """Have what is queued leave now, as far as it may; called on the loop, never blocks."""

    async def start(self) -> None:
        """Begin to carry."""

    async def stop(self) -> None:
        """End; what is queued is dropped."""


class Receiver(Protocol):
    """What a transport calls, on the loop."""

    def on_batch(self, sender: NodeId, items: Sequence[PeerItem]) -> None:
        """Items from one peer, in the order in which it sent them."""

    def on_undelivered(self, to: NodeId, items: Sequence[PeerItem]) -> None:
        """Items that certainly did not arrive, or may not have: whoever needs to sends again."""


TransportFactory = "Callable[[Receiver], PeerTransport]"
