"""The leader's side of proposals: append each id once, and say where it is.

A sender repeats itself when an answer is late.  The applier meets a repeated id with the stored
outcome, so a repeat costs an entry and nothing more; while the first is on its way it does not even
cost that.  Once it is applied, a repeat must become an entry again: whoever asks has not met the
first (its node was restarted, or its worker has changed nodes), and only an entry brings it the
outcome.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from raftcore import NotLeader, ProposalRefused
from raftdjango.node.limits import RECENT_IDS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

PROPOSAL_ID_BYTES_MAX = 64


class Refused(Enum):
    """Why the leader did not append; the names are those of `ForwardAnswer.Result`."""

    BUSY = "busy"
    TRANSFERRING = "transferring"
    TOO_LARGE = "too large"
    NOT_LEADER = "not leader"
    HELD = "held"
    """Until an exclusive turn is over; nobody else is told."""


Placement = tuple[int, int] | Refused
"""(index, term) where the command was appended, or why not."""


class Proposer(Protocol):
    """`RaftCore`, as far as it is needed here."""

    def propose(self, data: bytes, now_ms: int) -> tuple[int, int]: ...


class Intake:
    """Appends commands on the leader."""

    def __init__(
        self,
        core: Proposer,
        *,
        command_bytes_max: int,
        overloaded: Callable[[], bool],
        now_ms: Callable[[], int],
        held_back: Callable[[bytes, bytes], bool] = lambda proposal_id, command: False,
    ) -> None:
        """`overloaded()`: whether a queue behind the log is full.

        `held_back(proposal_id, command)`: whether it must wait for the end of somebody's turn.
        """
        self._core = core
        self._command_bytes_max = command_bytes_max
        self._overloaded = overloaded
        self._now_ms = now_ms
        self._held_back = held_back
        self._recent: dict[bytes, tuple[int, int]] = {}

    def append(self, proposal_id: bytes, command: bytes) -> Placement:
        """Append, unless this term already has the id."""
        if recent := self._recent.get(proposal_id):
            return recent
        if len(command) > self._command_bytes_max or len(proposal_id) > PROPOSAL_ID_BYTES_MAX:
            return Refused.TOO_LARGE
        if self._held_back(proposal_id, command):
            return Refused.HELD
        if self._overloaded():
            return Refused.BUSY
        try:
            placed = self._core.propose(command, self._now_ms())
        except NotLeader:
            return Refused.NOT_LEADER
        except ProposalRefused as refusal:
            return Refused.TRANSFERRING if refusal.reason == "transferring" else Refused.BUSY
        self._remember(proposal_id, placed)
        return placed

    def applied(self, proposal_id: bytes) -> None:
        """Its entry is applied: see above."""
        self._recent.pop(proposal_id, None)

    def forget(self) -> None:
        """Role or term changed: what an earlier term appended may have been replaced since."""
        self._recent.clear()

    def _remember(self, proposal_id: bytes, placed: tuple[int, int]) -> None:
        self._recent[proposal_id] = placed
        if len(self._recent) > RECENT_IDS_MAX:
            del self._recent[next(iter(self._recent))]
