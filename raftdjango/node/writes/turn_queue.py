"""The leader's side of exclusive turns: who has one, who waits, and what is held back meanwhile.

A long block is beaten again and again by short ones of other nodes: whatever they commit while it
runs wins.  In an exclusive turn the leader appends no write-set but the holder's, so that nothing can
win against it.  One turn at a time, first come first served, and never for long.

Correctness depends on none of this: before-images are checked as ever.  So a turn simply ends when
its holder falls silent, takes too long or the leader changes, and what was held back goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from raftdjango.node.limits import TURNS_WAITING_MAX
from raftdjango.writeset.entry_pb2 import Command

if TYPE_CHECKING:
    from collections.abc import Callable

TURN_S_MAX = 2.0
"""Longest turn, if not told otherwise; everybody else's writes wait for its end."""
LONGEST_S = 60.0
"""Whatever a worker says."""
SILENCE_S = 1.0
"""A node repeats what its workers want several times a second; silent for so long, they are gone."""
OTHER_BYTES_MAX = 4096
"""Commands other than write-sets are short; a longer one need not be looked into."""


@dataclass(slots=True)
class Asking:
    """A turn that somebody waits for, or has."""

    node_id: str
    heard_at: float
    longest_s: float
    granted_at: float = 0.0
    index: int = 0
    """End of the log when the turn began: the holder has to see everything up to there."""


class TurnQueue:
    """Turns of one group, while this node leads it.  Lives on the loop."""

    def __init__(
        self,
        *,
        now: Callable[[], float],
        last_index: Callable[[], int],
        grant: Callable[[str, bytes, int], None],
        over: Callable[[], None],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """`grant(node_id, token, index)` tells the winner; `over()`: let go what was held back."""
        self._now = now
        self._call_later = call_later
        self._last_index = last_index
        self._grant = grant
        self._over = over
        self._asking: dict[bytes, Asking] = {}
        """By token, in the order in which they came; the holder's among them."""
        self._holder: bytes | None = None
        self._rest_until = 0.0
        self.granted = 0
        """Turns given since the start."""
        self.timed_out = 0
        """Of those, ended because of their holder's silence or slowness."""

    def __len__(self) -> int:
        return len(self._asking)

    @property
    def holder(self) -> str | None:
        """The node whose worker has the turn."""
        return None if self._holder is None else self._asking[self._holder].node_id

    def ask(self, node_id: str, token: bytes, longest_s: float = 0) -> None:
        """A node's worker wants a turn (still); the grant is told as often as it is asked for."""
        asking = self._asking.get(token)
        if asking is None:
            if len(self._asking) >= TURNS_WAITING_MAX:
                return
            asking = self._asking[token] = Asking(
                node_id, self._now(), min(longest_s or TURN_S_MAX, LONGEST_S)
            )
        asking.heard_at = self._now()
        if token == self._holder:
            self._grant(node_id, token, asking.index)
        else:
            self._next()

    def hold(self, token: bytes) -> None:
        """The holder's node says that it needs the turn still."""
        if (asking := self._asking.get(token)) is not None:
            asking.heard_at = self._now()

    def end(self, token: bytes) -> None:
        """A turn is given back, or wanted no more."""
        asking = self._asking.pop(token, None)
        if asking is None or token != self._holder:
            return
        self._holder = None
        # As long again for all others, however many want turns.
        rest_s = self._now() - asking.granted_at
        self._rest_until = self._now() + rest_s
        self._over()
        if self._asking:
            self._call_later(rest_s, self._next)

    def appended(self, proposal_id: bytes) -> None:
        """Its place in the log is what a turn is for: whatever comes behind cannot win any more."""
        if proposal_id == self._holder:
            self.end(proposal_id)

    def holds_back(self, proposal_id: bytes, command: bytes) -> bool:
        """Whether a proposal has to wait for the end of somebody else's turn."""
        return self._holder not in (None, proposal_id) and is_write_set(command)

    def sweep(self) -> None:
        """Forget whom nobody speaks for any more, and end a turn that lasts too long."""
        now = self._now()
        for token, asking in list(self._asking.items()):
            late = token == self._holder and now - asking.granted_at >= asking.longest_s
            if late or now - asking.heard_at >= SILENCE_S:
                self.timed_out += token == self._holder
                self.end(token)
        self._next()

    def forget(self) -> None:
        """Role or term changed: turns are the leader's word, and it is not (the same) leader now."""
        self._asking.clear()
        self._holder = None
        self._rest_until = 0.0

    def _next(self) -> None:
        now = self._now()
        if self._holder is not None or not self._asking or now < self._rest_until:
            return
        token, asking = next(iter(self._asking.items()))
        self._holder = token
        asking.granted_at, asking.index = now, self._last_index()
        self.granted += 1
        self._grant(asking.node_id, token, asking.index)


def is_write_set(command: bytes) -> bool:
    """Whether a command changes users' rows; all others go on during a turn."""
    if len(command) > OTHER_BYTES_MAX:
        return True
    try:
        return bool(Command.FromString(command).WhichOneof("body") == "write_set")
    except DecodeError:
        return True
