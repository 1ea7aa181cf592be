"""Everything that the core raises, by whose fault it is.

The caller's: `Refused`, of which `NotLeader`, `ProposalRefused`, `TransferRefused` and
`ChangeRefused` are; nothing has happened, and the text says what to do.  So it is with the
`TypeError` and `ValueError` of an argument that is none.  The sender's: `Malformed`.  Nobody's that
can be named from here: `InvariantViolation`, a promise of the protocol seen broken; the node has to
stop.
"""

from __future__ import annotations

from typing import Literal

from raftcore.types import NodeId


class RaftError(Exception):
    """Base of all errors of `raftcore`."""


class Refused(RaftError):
    """What was asked for is not done.  Nothing has happened, and it may be asked for again."""


class NotLeader(Refused):
    """Only the leader can do this; nothing was appended."""

    def __init__(self, leader: NodeId | None) -> None:
        self.leader = leader
        """Whom to ask instead, where known."""
        known = f"the leader is {leader!r}" if leader else "no leader is known"
        super().__init__(f"This node is not the leader; {known}.")


class ProposalRefused(Refused):
    """The leader does not take this proposal now."""

    def __init__(self, reason: Literal["busy", "transferring"]) -> None:
        self.reason = reason
        super().__init__(
            "Too much is waiting to be committed; propose again later."
            if reason == "busy"
            else "Leadership is being handed over; propose again to the new leader."
        )


class TransferRefused(Refused):
    """Leadership cannot be handed over in the way asked for."""

    def __init__(
        self,
        to: NodeId | None,
        reason: Literal["not a voter", "itself", "nobody", "witness", "snapshot"],
    ) -> None:
        self.to = to
        self.reason = reason
        super().__init__(
            {
                "not a voter": f"{to!r} is not a voter of this cluster; name one.",
                "itself": f"{to!r} is the leader already; there is nothing to do.",
                "witness": f"{to!r} is a witness and has no data to lead with; name another one.",
                "snapshot": f"{to!r} is being sent a snapshot; try again once it has it.",
                "nobody": "No other voter is in contact with the leader; try again when one is.",
            }[reason]
        )


ChangeRefusal = Literal[
    "transferring",
    "in progress",
    "nothing committed",
    "outdated",
    "no change",
    "bad id",
    "duplicate",
    "unknown",
    "known",
    "removed",
    "not caught up",
    "no voters",
    "witnesses",
    "not joint",
]


class ChangeRefused(Refused):
    """The membership cannot be changed in the way asked for."""

    def __init__(self, reason: ChangeRefusal, text: str) -> None:
        self.reason = reason
        super().__init__(text)


class Malformed(RaftError):
    """Bytes that are no message, entry or state of this format."""


class InvariantViolation(RaftError):
    """A safety property does not hold: go no further, since what follows could lose data."""
