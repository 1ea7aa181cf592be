"""Everything that the core raises, by whose fault it is.

The caller's: `NotLeader`, `ProposalRefused`, `TransferRefused`, `ChangeRefused`; nothing has
happened, and each says what to do instead.  The sender's: `Malformed`.  Nobody's that can be named from here:
`InvariantViolation`, a promise of the protocol seen broken; the node has to stop.
"""

from __future__ import annotations

from typing import Literal

from raftcore.types import NodeId


class RaftError(Exception):
    """Base of all errors of `raftcore`."""


class NotLeader(RaftError):
    """Only the leader can do this; nothing was appended."""

    def __init__(self, leader: NodeId | None) -> None:
        self.leader = leader
        """Whom to ask instead, where known."""
        known = f"the leader is {leader!r}" if leader else "no leader is known"
        super().__init__(f"This node is not the leader; {known}.")


class ProposalRefused(RaftError):
    """The leader does not take this proposal now; nothing was appended and a retry is safe."""

    def __init__(self, reason: Literal["busy", "transferring"]) -> None:
        self.reason = reason
        super().__init__(
            "Too much is waiting to be committed; propose again later."
            if reason == "busy"
            else "Leadership is being handed over; propose again to the new leader."
        )


class TransferRefused(RaftError):
    """Leadership cannot be handed over in the way asked for; nothing has changed."""

    def __init__(
        self,
        to: NodeId | None,
        reason: Literal["not a voter", "itself", "nobody", "witness", "snapshot"],
    ) -> None:
        self.to = to
        self.reason = reason
        super().__init__(
            {
                "not a voter": f"{to!r} is not a voter of this cluster.",
                "itself": f"{to!r} is the leader already.",
                "witness": f"{to!r} is a witness: it has no data to lead with.",
                "snapshot": f"{to!r} is being sent a snapshot: it is far behind.",
                "nobody": "No other voter is in contact with the leader.",
            }[reason]
        )


ChangeRefusal = Literal[
    "transferring",
    "in progress",
    "nothing committed",
    "outdated",
    "no change",
    "duplicate",
    "unknown",
    "known",
    "removed",
    "not caught up",
    "no voters",
    "witnesses",
    "not joint",
]


class ChangeRefused(RaftError):
    """The membership cannot be changed in the way asked for; nothing has changed."""

    def __init__(self, reason: ChangeRefusal, text: str) -> None:
        self.reason = reason
        super().__init__(text)


class Malformed(RaftError):
    """Bytes that are no message, entry or state of this format."""


class InvariantViolation(RaftError):
    """A safety property does not hold: go no further, since what follows could lose data."""
