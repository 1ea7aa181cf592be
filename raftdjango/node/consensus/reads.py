"""Reading at least as fresh as the moment of asking, on any node.

`IndexReads` asks the core, which has the leader prove by a round of heartbeats that it still leads
(thesis section 6.4): nothing is written.  A leader of a release that does not know the question is
asked by `BarrierReads`: an empty entry, waited for until it is applied here.  It is as good, since its
place in the log is behind everything committed, but costs what a write costs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from raftcore.effects import ReadReady
from raftdjango.client import proposal_ids
from raftdjango.node.limits import REFRESHES_MAX
from raftdjango.node.writes.proposals import Reason, Refusal
from raftdjango.writeset import Barrier, Command, encode_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftcore.effects import ReadRefused
    from raftdjango.applier import Applied
    from raftdjango.node.writes.proposals import Proposals

logger = logging.getLogger("raftdjango.node")

TOO_MANY = Refusal(Reason.BUSY, "too many reads wait for a read index")
DEAF_S = 60.0
"""So long a leader that leaves questions unanswered is not asked again."""

Refreshed = Callable[["int | Refusal"], None]
"""Told the applied index, or why there is none."""


class Reads(Protocol):
    """A way to a read index."""

    def refresh(self, *, deadline: float, refreshed: Refreshed, by_entry: bool = False) -> None:
        """Tell when the local database shows all that was committed when this was called.

        `by_entry`: and an entry behind that, which moves the database's cluster time on.
        """


class Ground(Protocol):
    """What reads stand on: the group's view of consensus."""

    node_id: str

    @property
    def leader(self) -> str | None: ...

    @property
    def term(self) -> int: ...

    @property
    def applied_index(self) -> int: ...

    @property
    def commit_index(self) -> int: ...

    def read_index(self) -> int:
        """Begin a read of the core's; the number that its outcome will bear."""


@dataclass(frozen=True, slots=True, eq=False)
class Waiter:
    """Somebody who wants to read."""

    deadline: float
    refreshed: Refreshed


class IndexReads:
    """The node's reads without an outcome.  Lives on the loop.

    Every refusal of the core's is safe to ask again after, so each is asked again until its deadline:
    at the next sweep, or as soon as there is another leader.
    """

    def __init__(
        self,
        ground: Ground,
        barriers: BarrierReads,
        *,
        now: Callable[[], float],
        held_up: Callable[[], str] = lambda: "",
    ) -> None:
        """`held_up` names whoever keeps this node from applying anything."""
        self._ground = ground
        self._barriers = barriers
        self._now = now
        self._held_up = held_up
        self._asked: dict[int, Waiter] = {}
        """By the core's number."""
        self._parked: list[Waiter] = []
        self._open = False
        self._closed: Refusal | None = None
        self._silent: tuple[str | None, int] | None = None
        """Leader and term of the last question that was not answered."""
        self._deaf: tuple[str | None, int] | None = None
        self._deaf_until = 0.0

    def __len__(self) -> int:
        return len(self._asked) + len(self._parked)

    def open(self) -> None:
        """The cluster has formed: before that, no answer would be of it."""
        self._open = True
        self._ask_parked()

    def close(self, refusal: Refusal) -> None:
        """Nothing will be answered any more: the node stops, or has stopped applying."""
        self._closed = refusal
        waiters = [*self._asked.values(), *self._parked]
        self._asked, self._parked = {}, []
        for waiter in waiters:
            _tell(waiter, refusal)

    def refresh(self, *, deadline: float, refreshed: Refreshed, by_entry: bool = False) -> None:
        """See `Reads`."""
        if self._closed is not None:
            refreshed(self._closed)
        elif by_entry:
            self._barriers.refresh(deadline=deadline, refreshed=refreshed)
        elif len(self) >= REFRESHES_MAX:
            refreshed(TOO_MANY)
        else:
            self._ask(Waiter(deadline, refreshed))

    def on_outcomes(self, outcomes: Sequence[ReadReady | ReadRefused]) -> None:
        """The core tells what became of reads; those that shared a question come together."""
        unanswered = False
        for outcome in outcomes:
            waiter = self._asked.pop(outcome.read_id, None)
            if isinstance(outcome, ReadReady):
                self._silent = None
                if waiter is not None:  # else its deadline has passed
                    _tell(waiter, max(outcome.index, self._ground.applied_index))
                continue
            unanswered = unanswered or outcome.reason == "no answer"
            if waiter is None:
                continue
            if outcome.reason == "busy":
                _tell(waiter, TOO_MANY)
            else:
                self._parked.append(waiter)
        if unanswered:
            self._unanswered()

    def on_leader(self) -> None:
        """Leader or term changed."""
        self._silent = None
        self._ask_parked()

    def sweep(self) -> None:
        """End what is past its deadline, ask again what was refused."""
        now = self._now()
        late = [number for number, waiter in self._asked.items() if now >= waiter.deadline]
        ended = [self._asked.pop(number) for number in late]
        ended += [waiter for waiter in self._parked if now >= waiter.deadline]
        self._parked = [waiter for waiter in self._parked if now < waiter.deadline]
        for waiter in ended:
            _tell(waiter, Refusal(Reason.UNAVAILABLE, self._why()))
        self._ask_parked()

    def _ask_parked(self) -> None:
        parked, self._parked = self._parked, []
        for waiter in parked:
            self._ask(waiter)

    def _ask(self, waiter: Waiter) -> None:
        ground = self._ground
        if not self._open or ground.leader is None:
            self._parked.append(waiter)
        elif self._deaf == (ground.leader, ground.term) and self._now() < self._deaf_until:
            self._barriers.refresh(deadline=waiter.deadline, refreshed=waiter.refreshed)
        else:
            self._asked[ground.read_index()] = waiter

    def _unanswered(self) -> None:
        """Once may mean that the leader is gone; twice in a term, that it does not understand.

        For an election comes before the second time.
        """
        asked = self._ground.leader, self._ground.term
        if self._silent == asked:
            self._deaf, self._deaf_until = asked, self._now() + DEAF_S
        self._silent = asked

    def _why(self) -> str:
        ground = self._ground
        behind = ground.commit_index - ground.applied_index
        holder = self._held_up()
        why = (
            "no leader is known, so most likely no majority of the nodes can be reached"
            if ground.leader is None
            else "the cluster has not formed yet"
            if not self._open
            else f"the local database's write lock is held by {holder}"
            if holder
            else f"{behind} committed entries are not applied here yet"
            if behind > 0
            else "this node leads, but no majority of the others has confirmed it"
            if ground.leader == ground.node_id
            else f"the leader, {ground.leader}, did not answer, or could not prove that it still leads"
        )
        return f"Node {ground.node_id} could not be brought up to date in time: {why}."


def _tell(waiter: Waiter, end: int | Refusal) -> None:
    try:
        waiter.refreshed(end)
    except Exception:
        # One worker's trouble is none of the others'.
        logger.exception("The end of a read could not be told.")


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
        """As `Reads` has it.  A waiter whose deadline is nearer than its round's waits with the round."""
        if len(self._queued) >= REFRESHES_MAX:
            refreshed(TOO_MANY)
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
