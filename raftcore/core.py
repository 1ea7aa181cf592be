"""The state machine that a driver turns: inputs and the time in, effects out.

Nothing here waits, reads a clock or touches a socket; the only thing read is the log below the
part in memory.  The same inputs with the same random numbers give the same effects.

A driver gives every input as it comes, then takes the effects of them all at once: a thousand
proposals and messages then are one write and one message to each follower.  What it has to do
with effects is in `effects`.  `InvariantViolation` from any call means: stop this node.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from raftcore import (
    authority,
    election,
    follower,
    leader,
    priority,
    reads,
    reconfiguration,
    recording,
    transfer,
    witness,
)
from raftcore.changes import Change, JointMode
from raftcore.config import Config
from raftcore.effects import Apply, Effect, RoleChanged
from raftcore.errors import InvariantViolation
from raftcore.log import RaftLog, entry_size
from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    Message,
    PreVote,
    PreVoteResponse,
    ReadIndex,
    ReadIndexResponse,
    Removed,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from raftcore.state import Node
from raftcore.status import Status, status_of
from raftcore.types import HardState, Membership, NodeId, Role

if TYPE_CHECKING:
    from raftcore.recording import Trace
    from raftcore.storage.protocol import LogReader

_HANDLERS: dict[type[Message], Callable[[Node, Any], None]] = {
    AppendEntries: follower.on_append_entries,
    AppendEntriesResponse: leader.on_append_entries_response,
    Heartbeat: follower.on_heartbeat,
    HeartbeatResponse: leader.on_heartbeat_response,
    PreVote: election.on_pre_vote,
    PreVoteResponse: election.on_pre_vote_response,
    RequestVote: election.on_request_vote,
    RequestVoteResponse: election.on_request_vote_response,
    TimeoutNow: election.on_timeout_now,
    Removed: election.on_removed,
    ReadIndex: reads.on_read_index,
    ReadIndexResponse: reads.on_read_index_response,
}


class RaftCore:
    """One member of one cluster.  Not safe for use by several threads at once."""

    def __init__(
        self,
        config: Config,
        log: LogReader,
        *,
        hard_state: HardState,
        bootstrap: Membership,
        applied_index: int,
        rng: random.Random,
        now_ms: int,
        trace: Trace | None = None,
    ) -> None:
        """Start from what is on disk: `log`, `hard_state`, and how far the state machine has come.

        `bootstrap` is the membership while the log holds none.  Times are of one monotonic clock.
        `trace` is told everything that happens (`raftcore.trace`).
        """
        if trace is not None:
            log, rng = recording.begin(
                trace,
                log,
                rng,
                config=config,
                hard_state=hard_state,
                bootstrap=bootstrap,
                applied_index=applied_index,
                now_ms=now_ms,
            )
        self._node = Node(
            config,
            RaftLog(
                log,
                bootstrap=bootstrap,
                applied_index=applied_index,
                cache_bytes_max=config.cache_bytes_max,
            ),
            hard_state,
            rng,
            now_ms,
        )
        witness.check_start(self._node.log, config.node_id, witness=config.witness)
        self._applied_index = applied_index
        # Handed out to be applied up to this index; and the last index and bytes of each batch that
        # has not been reported as applied.
        self._apply_offered = applied_index
        self._applying: deque[tuple[int, int]] = deque()
        self._applying_bytes = 0
        self._reported: tuple[Role, int, NodeId | None]
        self._reported = (Role.FOLLOWER, hard_state.current_term, None)
        self._node.reset_election_timer()
        if self._node.promotable and not self._node.other_voters:
            # Nobody else could be leading: why wait?
            self._node.election_due_ms = now_ms
        if trace is not None:
            recording.attach(self, trace)

    # ------------------------------------------------------------------ looking

    @property
    def role(self) -> Role:
        return self._node.role

    @property
    def current_term(self) -> int:
        return self._node.current_term

    @property
    def leader(self) -> NodeId | None:
        """The leader of the current term, where known."""
        return self._node.leader

    @property
    def commit_index(self) -> int:
        return self._node.log.commit_index

    @property
    def last_index(self) -> int:
        return self._node.log.last_index

    @property
    def applied_index(self) -> int:
        return self._applied_index

    @property
    def membership(self) -> Membership:
        """The one in force: the latest in the log, committed or not."""
        return self._node.membership

    @property
    def membership_index(self) -> int:
        """The entry that holds it; 0 while it is the one the log began with."""
        return self._node.log.membership_index

    @property
    def removed(self) -> bool:
        """This node was a member and is none any more; its driver may stop it for good."""
        log = self._node.log
        return self._node.removed or (
            self._node.node_id in log.membership.removed
            and log.membership_index <= log.commit_index
        )

    def status(self, now_ms: int) -> Status:
        """A picture for people."""
        self._advance(now_ms)
        return status_of(self._node, self._applied_index)

    def cluster_time_ms(self, now_ms: int) -> int:
        """This node's estimate of cluster time; never falls."""
        self._advance(now_ms)
        return self._node.clock.read(self._node.now_ms)

    # ------------------------------------------------------------------ inputs

    def receive(self, message: Message, now_ms: int) -> None:
        """A message from a peer, in any order, once, twice or late."""
        self._advance(now_ms)
        _HANDLERS[type(message)](self._node, message)

    def next_timer(self) -> int | None:
        """When `handle_timer` wants to be called, unless another input changes it."""
        node = self._node
        due: list[int | None]
        if node.leading is None:
            asked = node.reads.asked
            due = [node.election_due_ms, node.resend_due_ms, asked.deadline_ms if asked else None]
        else:
            handing_over = node.leading.transfer
            due = [
                node.leading.heartbeat_due_ms if node.leading.progress else None,
                handing_over.deadline_ms if handing_over else None,
            ]
        return min((at_ms for at_ms in due if at_ms is not None), default=None)

    def handle_timer(self, now_ms: int) -> None:
        """Time has passed.  Harmless at any moment; what is due is done."""
        self._advance(now_ms)
        leading = self._node.leading
        if leading is None:
            reads.on_timer(self._node)
            election.on_timer(self._node)
        else:
            transfer.on_timer(self._node, leading)
            priority.on_timer(self._node, leading)
            authority.on_timer(self._node, leading)

    def propose(self, data: bytes, now_ms: int) -> tuple[int, int]:
        """Append a command to the log; (index, term) of the entry.

        It is committed when an `Apply` brings an entry of that index and term, and lost when one
        brings the same index with another term.  Raises `NotLeader` and `ProposalRefused`; then
        nothing was appended.
        """
        self._advance(now_ms)
        return leader.propose(self._node, data)

    def read_index(self, now_ms: int) -> int:
        """Begin a linearizable read, on any member; returns its number (thesis §6.4).

        Its outcome is an effect, `ReadReady` or `ReadRefused`, which may take as long as an
        election; reads begun before effects are taken share one round of messages.
        """
        self._advance(now_ms)
        return reads.ask(self._node)

    def transfer_leadership(self, to: NodeId | None, now_ms: int) -> None:
        """Hand leadership over, to the best caught-up voter if `to` is None.

        Until it has happened, or an election timeout has passed, proposals are refused.  Raises
        `NotLeader` and `TransferRefused`; then nothing has changed.
        """
        self._advance(now_ms)
        transfer.start(self._node, to)

    def change_membership(
        self,
        changes: Sequence[Change],
        now_ms: int,
        *,
        based_on: int | None = None,
        joint: JointMode = JointMode.AUTO,
    ) -> tuple[int, int]:
        """Append the membership that these changes make of the one in force; (index, term).

        It counts at once, and is certain when an `Apply` brings that entry.  With `based_on`, only
        if the one in force is still that of this `membership_index`.  Raises `NotLeader` and
        `ChangeRefused`; then nothing was appended.
        """
        self._advance(now_ms)
        return reconfiguration.change(self._node, changes, joint, based_on)

    def leave_joint(self, now_ms: int) -> tuple[int, int]:
        """Leave a joint configuration that was entered with `JointMode.EXPLICIT`; (index, term).

        Raises `NotLeader` and `ChangeRefused`.
        """
        self._advance(now_ms)
        return reconfiguration.leave_joint(self._node)

    def persisted(self, ticket: int, now_ms: int) -> None:
        """The `Persist` of this ticket, and with it those before, is durable."""
        self._advance(now_ms)
        self._node.log.persisted(ticket)
        leader.commit(self._node)
        election.on_state_durable(self._node)

    def applied(self, index: int) -> None:
        """Entries up to `index` are in the state machine."""
        if index > self._apply_offered:
            raise InvariantViolation(f"{index} applied, but {self._apply_offered} handed out")
        self._applied_index = max(self._applied_index, index)
        while self._applying and self._applying[0][0] <= index:
            self._applying_bytes -= self._applying.popleft()[1]

    # ------------------------------------------------------------------ effects

    def take_effects(self) -> list[Effect]:
        """All that is to be done because of the inputs so far, in order."""
        node = self._node
        authority.serve_reads(node)
        reconfiguration.follow_up(node)
        leader.replicate(node)
        effects: list[Effect] = []
        persist = node.take_persist()
        if persist is not None:
            effects.append(persist)
        effects.extend(node.outbox.take(node.log.writes))
        effects.extend(self._take_apply())
        effects.extend(node.reads.take(self._applied_index))
        node.log.trim(self._apply_offered)
        now = (node.role, node.current_term, node.leader)
        if now != self._reported:
            self._reported = now
            effects.append(RoleChanged(*now))
        return effects

    def _take_apply(self) -> list[Apply]:
        # Only what is durable here: the state machine must not overtake its own log.  So there is
        # nothing left to wait for.
        log, bytes_max = self._node.log, self._node.config.apply_bytes_max
        ready = min(log.commit_index, log.stable_index)
        batches = []
        while self._apply_offered < ready and self._applying_bytes < bytes_max:
            entries = log.entries(self._apply_offered + 1, ready, bytes_max)
            self._apply_offered = entries[-1].index
            size = sum(map(entry_size, entries))
            self._applying.append((self._apply_offered, size))
            self._applying_bytes += size
            batches.append(Apply(entries, after=0))
        return batches

    def _advance(self, now_ms: int) -> None:
        # Time never runs backwards here, whatever the driver says: stamps depend on it.
        if now_ms > self._node.now_ms:
            self._node.now_ms = now_ms
