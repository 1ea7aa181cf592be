"""Other nodes' proposals at the node that leads: append, or say why not, or keep them for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from raftcore.types import Role
from raftdjango.node.limits import HELD_BYTES_MAX, HELD_FORWARDS_MAX
from raftdjango.node.peers.peer_pb2 import ForwardAnswer
from raftdjango.node.writes.intake import Placement, Refused

if TYPE_CHECKING:
    from raftdjango.node.peers.port import Forward, PeerTransport

_RESULTS = {
    Refused.BUSY: ForwardAnswer.BUSY,
    Refused.HELD: ForwardAnswer.BUSY,
    Refused.TRANSFERRING: ForwardAnswer.TRANSFERRING,
    Refused.TOO_LARGE: ForwardAnswer.TOO_LARGE,
    Refused.NOT_LEADER: ForwardAnswer.NOT_LEADER,
}


class ForwardGround(Protocol):
    """The group that forwarded proposals come to."""

    role: Role
    stopping: bool
    transport: PeerTransport

    def append(self, proposal_id: bytes, command: bytes) -> Placement:
        """Append as the leader."""


class Forwards:
    """Those that came, and those that wait for the end of an exclusive turn.  Lives on the loop."""

    def __init__(self, ground: ForwardGround) -> None:
        self._ground = ground
        self._held: dict[bytes, tuple[str, Forward]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def take(self, sender: str, item: Forward) -> None:
        """Append a peer's proposal and tell it where, or why not."""
        ground = self._ground
        placement: Placement = Refused.BUSY
        if not ground.stopping or ground.role is Role.LEADER:
            placement = ground.append(item.proposal_id, item.command)
        if placement is Refused.HELD and self._keep(sender, item):
            return  # Answered once it is appended.
        self._answer(sender, item.proposal_id, placement)

    def let_go(self) -> None:
        """The turn is over: append what has waited, in the order in which it came."""
        held, self._held, self._bytes = self._held, {}, 0
        for sender, item in held.values():
            self.take(sender, item)

    def _answer(self, sender: str, proposal_id: bytes, placement: Placement) -> None:
        answer = ForwardAnswer(proposal_id=proposal_id)
        if isinstance(placement, Refused):
            answer.result = _RESULTS[placement]
        else:
            answer.result = ForwardAnswer.ACCEPTED
            answer.index, answer.term = placement
        self._ground.transport.send(sender, answer)

    def _keep(self, sender: str, item: Forward) -> bool:
        """Keep it for later; False if there is no room.  A repeat takes none."""
        if item.proposal_id not in self._held:
            size = self._bytes + len(item.command)
            if len(self._held) >= HELD_FORWARDS_MAX or (self._held and size > HELD_BYTES_MAX):
                return False
            self._bytes = size
        self._held[item.proposal_id] = sender, item
        return True
