"""The reads that have no outcome yet, wherever they wait for one (thesis §6.4)."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from raftcore.effects import ReadReady, ReadRefusal, ReadRefused
from raftcore.types import NodeId


@dataclass(slots=True)
class Round:
    """Reads that a quorum's answers to heartbeat `sequence`, or to a later one, will confirm."""

    sequence: int
    index: int
    """The commit index when the heartbeat was sent."""
    here: list[int]
    forwarded: dict[NodeId, int]


@dataclass(slots=True)
class Asked:
    """This node's question to the leader; the next waits until it is answered."""

    leader: NodeId
    term: int
    request: int
    reads: list[int]
    sent_ms: int
    deadline_ms: int


@dataclass(slots=True)
class Confirmed:
    """Reads whose index is known, until it has been applied."""

    index: int
    reads: list[int]
    since_ms: int


@dataclass(slots=True)
class Reads:
    """Every read that has no outcome yet; at most `Config.reads_max` of this node's own, and one
    question of each other member."""

    next_request: int
    """Begins at random: an answer to an earlier incarnation of this node, which may tell of an
    older index, must not fit a question of this one."""
    last_id: int = 0
    pending: int = 0
    """This node's own reads without an outcome."""
    waiting: list[int] = field(default_factory=list)
    """Of those, the ones that no round and no question covers yet."""
    forwarded: dict[NodeId, int] = field(default_factory=dict)
    """At a leader: other members' questions that no round covers yet.  A newer one of the same
    member takes the place of an older, which it has given up."""
    rounds: deque[Round] = field(default_factory=deque)
    served_term: int = 0
    """The term of `forwarded` and `rounds`."""
    asked: Asked | None = None
    confirmed: deque[Confirmed] = field(default_factory=deque)
    """In the order of their indexes."""
    refused: list[ReadRefused] = field(default_factory=list)

    @classmethod
    def of(cls, rng: random.Random) -> Reads:
        return cls(next_request=rng.getrandbits(62))

    @property
    def active(self) -> bool:
        """Whether there is anything to do for a read."""
        return bool(self.pending or self.forwarded or self.rounds)

    def refuse(self, reads: list[int], reason: ReadRefusal) -> None:
        """The outcome of these."""
        self.refused += [ReadRefused(read_id, reason) for read_id in reads]
        self.pending -= len(reads)

    def take(self, applied_index: int) -> list[ReadReady | ReadRefused]:
        """The outcomes since the last call."""
        if not (self.refused or self.confirmed):
            return []
        outcomes: list[ReadReady | ReadRefused] = [*self.refused]
        self.refused = []
        while self.confirmed and self.confirmed[0].index <= applied_index:
            done = self.confirmed.popleft()
            outcomes += [ReadReady(read_id, done.index) for read_id in done.reads]
            self.pending -= len(done.reads)
        return outcomes
