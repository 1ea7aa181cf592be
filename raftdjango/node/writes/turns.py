"""Exclusive turns as a node sees them: what its own workers want, and what is said about it.

A worker's wish is repeated to whoever leads until it is granted, and the grant is confirmed as long as
the worker needs it: so a lost message, a dead worker, a dead node and a new leader all come to the same,
a turn that begins later or ends early.  See `turn_queue` for the leader's side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from raftdjango.node.limits import TURNS_WAITING_MAX
from raftdjango.node.peers.peer_pb2 import Turn
from raftdjango.node.writes.proposals import Reason, Refusal
from raftdjango.node.writes.turn_queue import TurnQueue

if TYPE_CHECKING:
    from raftcore import RaftCore
    from raftdjango.node.peers.port import PeerTransport
    from raftdjango.node.writes.forwards import Forwards
    from raftdjango.node.writes.proposals import Proposals

REPEAT_S = 0.25
"""Between two words about the same turn; several fit into the silence that ends it."""

Told = Callable[["Refusal | None"], None]
"""Called once, on the loop: None, the worker has its turn."""


class TurnGround(Protocol):
    """What turns stand on."""

    node_id: str
    leader: str | None
    applied_index: int
    core: RaftCore
    forwards: Forwards
    proposals: Proposals
    transport: PeerTransport

    def now(self) -> float: ...


@dataclass(slots=True, eq=False)
class Wish:
    """A turn that one of this node's workers waits for, or has."""

    token: bytes
    deadline: float
    told: Told
    longest_s: float
    """How long it may last; 0: as usual."""
    index: int | None = None
    """Granted: begin once everything up to there is applied here."""
    has_begun: bool = False
    said_at: float = float("-inf")


class Turns:
    """Turns of one group.  Lives on the loop."""

    def __init__(
        self, ground: TurnGround, *, call_later: Callable[[float, Callable[[], None]], object]
    ) -> None:
        self._ground = ground
        self._wishes: dict[bytes, Wish] = {}
        self.queue = TurnQueue(
            now=ground.now,
            last_index=lambda: ground.core.last_index,
            grant=self._grant,
            over=self._over,
            call_later=call_later,
        )

    def __len__(self) -> int:
        return len(self._wishes) + len(self.queue)

    # -- for this node's workers ---------------------------------------------------------------

    def take(self, token: bytes, *, deadline: float, told: Told, longest_s: float = 0) -> None:
        """Get in line; the turn lasts until `end`, or its proposal, or the leader's patience."""
        if len(self._wishes) >= TURNS_WAITING_MAX:
            told(Refusal(Reason.BUSY, "too many blocks wait for an exclusive turn"))
            return
        wish = self._wishes[token] = Wish(token, deadline, told, longest_s)
        self._say(wish)

    def end(self, token: bytes) -> None:
        """The worker is done with it, or gone."""
        if self._wishes.pop(token, None) is not None:
            self._tell_leader(Turn(token=token, kind=Turn.END))

    def on_applied(self) -> None:
        """The local database shows more now."""
        for wish in list(self._wishes.values()):
            self._begin(wish)

    def sweep(self) -> None:
        """Repeat what may have been lost, give up what came too late."""
        now = self._ground.now()
        for wish in list(self._wishes.values()):
            if not wish.has_begun and now >= wish.deadline:
                self.end(wish.token)
                wish.told(Refusal(Reason.UNAVAILABLE, "No exclusive turn came in time."))
            elif now - wish.said_at >= REPEAT_S:
                self._say(wish)
        self.queue.sweep()

    def on_leader(self) -> None:
        """Leader or term changed: ask the new one."""
        self.queue.forget()
        for wish in list(self._wishes.values()):
            if not wish.has_begun:
                wish.index = None
                self._say(wish)

    def _say(self, wish: Wish) -> None:
        wish.said_at = self._ground.now()
        if wish.has_begun:
            self._tell_leader(Turn(token=wish.token, kind=Turn.HOLD))
        else:
            longest_ms = int(1000 * wish.longest_s)
            self._tell_leader(Turn(token=wish.token, kind=Turn.TAKE, longest_ms=longest_ms))

    def _begin(self, wish: Wish) -> None:
        applied = self._ground.applied_index
        if wish.has_begun or wish.index is None or applied < wish.index:
            return
        wish.has_begun = True
        wish.told(None)

    # -- between nodes -------------------------------------------------------------------------

    def on_turn(self, sender: str, item: Turn) -> None:
        """A peer's word, or this node's own if it leads."""
        if item.kind == Turn.GRANTED:
            self._granted(sender, item)
        elif self._ground.leader == self._ground.node_id:
            if item.kind == Turn.TAKE:
                self.queue.ask(sender, item.token, item.longest_ms / 1000)
            elif item.kind == Turn.HOLD:
                self.queue.hold(item.token)
            elif item.kind == Turn.END:
                self.queue.end(item.token)

    def _granted(self, leader: str, item: Turn) -> None:
        wish = self._wishes.get(item.token)
        if wish is None:
            # A word that was overtaken, by this turn's own end perhaps: nobody here wants it.
            self._send(leader, Turn(token=item.token, kind=Turn.END))
        elif not wish.has_begun:
            wish.index = item.index
            self._begin(wish)

    def _over(self) -> None:
        self._ground.forwards.let_go()
        self._ground.proposals.place_unsent()

    def _grant(self, node_id: str, token: bytes, index: int) -> None:
        self._send(node_id, Turn(token=token, kind=Turn.GRANTED, index=index))

    def _tell_leader(self, item: Turn) -> None:
        leader = self._ground.leader
        if leader is not None:
            self._send(leader, item)

    def _send(self, to: str, item: Turn) -> None:
        if to == self._ground.node_id:
            self.on_turn(to, item)
        else:
            self._ground.transport.send(to, item)
