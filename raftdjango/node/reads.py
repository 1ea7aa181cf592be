"""Reading at least as fresh as the moment of asking: the interface, and its first form.

A round of `BarrierReads` proposes an empty command and waits until it is applied here; whoever
asked before the round began is answered by it.  It costs an entry where the real read index costs a
heartbeat, and is otherwise as good: the entry's place in the log is behind everything committed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from raftdjango.client import proposal_ids
from raftdjango.node.limits import REFRESHES_MAX
from raftdjango.node.proposals import Reason, Refusal
from raftdjango.writeset import Barrier, Command, encode_command

if TYPE_CHECKING:
    from raftdjango.applier import Applied
    from raftdjango.node.proposals import Proposals

Refreshed = Callable[["int | Refusal"], None]
"""Told the applied index, or why there is none."""


class Reads(Protocol):
    """A way to a read index."""

    def refresh(self, *, deadline: float, refreshed: Refreshed) -> None:
        """Tell when the local database shows all that was committed when this was called."""


class BarrierReads:
    """One round in flight and one queued, shared by all who wait."""

    def __init__(
        self,
        proposals: Proposals,
        *,
        cluster_time_ms: Callable[[], int],
        now: Callable[[], float],
    ) -> None:
        self._proposals = proposals
        self._cluster_time_ms = cluster_time_ms
        self._now = now
        self._in_flight: list[Refreshed] = []
        self._queued: list[Refreshed] = []
        self._queued_deadline = 0.0

    def refresh(self, *, deadline: float, refreshed: Refreshed) -> None:
        """See `Reads`.  A waiter whose deadline is nearer than its round's waits with the round."""
        if len(self._queued) >= REFRESHES_MAX:
            refreshed(Refusal(Reason.BUSY, "too many reads wait for a read index"))
            return
        # A round under way may have been appended before a write that the caller knows of.
        self._queued.append(refreshed)
        self._queued_deadline = max(self._queued_deadline, deadline)
        if not self._in_flight:
            self._begin()

    def _begin(self) -> None:
        self._in_flight, self._queued = self._queued, []
        deadline, self._queued_deadline = self._queued_deadline, 0.0
        patience_ms = int((deadline - self._now()) * 1000) + 1000
        proposal_id = proposal_ids.next()
        command = Command(proposal_id, self._cluster_time_ms() + 2 * patience_ms, Barrier())
        self._proposals.submit(
            proposal_id, encode_command(command), deadline=deadline, settled=self._end
        )

    def _end(self, end: Applied | Refusal) -> None:
        waiters, self._in_flight = self._in_flight, []
        # Not even "uncertain" leaves a doubt here: nothing was to be written.
        result = (
            Refusal(Reason.UNAVAILABLE, "No read index: no majority answered in time.")
            if isinstance(end, Refusal) and end.reason is Reason.UNCERTAIN
            else end
            if isinstance(end, Refusal)
            else end.index
        )
        if self._queued:
            self._begin()
        for refreshed in waiters:
            refreshed(result)
