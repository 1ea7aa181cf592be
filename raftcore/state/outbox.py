"""Messages on their way out, each held until what it promises is durable."""

from __future__ import annotations

from raftcore.effects import Send
from raftcore.messages import AppendEntriesResponse, Message
from raftcore.state.writes import Writes
from raftcore.types import NodeId


class Outbox:
    """Collects messages until the driver takes them."""

    __slots__ = ("_acknowledgement", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[tuple[NodeId, Message, bool]] = []
        self._acknowledgement: tuple[NodeId, AppendEntriesResponse] | None = None

    def send(self, to: NodeId, message: Message) -> None:
        """Every message tells of the sender's term, so none leaves before that is durable."""
        self._waiting.append((to, message, False))

    def acknowledge(self, to: NodeId, message: AppendEntriesResponse) -> None:
        """A follower's success; it tells of the log as well.

        Of several in one stream only the furthest is sent, as it says all that the others say.
        """
        if self._acknowledgement is not None:
            earlier_to, earlier = self._acknowledgement
            if (earlier_to, earlier.term, earlier.session) != (to, message.term, message.session):
                self._waiting.append((earlier_to, earlier, True))
            elif message.match_index < earlier.match_index:
                return
        self._acknowledgement = (to, message)

    def take(self, writes: Writes) -> list[Send]:
        """Everything collected.  Called once the writes that it depends on have their tickets."""
        if self._acknowledgement is not None:
            self._waiting.append((*self._acknowledgement, True))
            self._acknowledgement = None
        if not self._waiting:
            return []
        after_state, after_all = writes.after_state, writes.after_all
        sends = [
            Send(to, message, after_all if tells_of_log else after_state)
            for to, message, tells_of_log in self._waiting
        ]
        self._waiting = []
        return sends
