"""The state machine that a driver turns: inputs and the time in, effects out.

Nothing here waits, reads a clock or touches a socket; the only thing read is the log below the
part in memory.  The same inputs with the same random numbers give the same effects.

A driver gives every input as it comes, then takes the effects of them all at once: a thousand
proposals and messages then are one write and one message to each follower.  What it has to do
with effects is in `effects`.  `InvariantViolation` from any call means: stop this node.

The way of a proposal, at a leader:

1. `propose` -> `leader.propose` appends an entry to the log in memory, and returns its place.
2. `take_effects` -> `leader.replicate` sends it to the followers, and `Node.take_writes` makes the
   `Persist` of it: both travel at once.
3. Followers take it in `follower.on_append_entries`, write it, and answer once that is durable.
4. `persisted` here, `receive` -> `leader.on_append_entries_response` for each of them: both call
   `leader.commit`, which raises the commit index once a majority of disks holds the entry.
5. `take_effects` -> `Applying.take` hands it out in an `Apply`; followers learn the new commit
   index with the next message and do the same.
6. `applied`: it is in the state machine, and reads that waited for it may go on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from raftcore import recording
from raftcore.changes import Change, JointMode
from raftcore.config import Config
from raftcore.effects import Effect, RoleChanged
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
    Snapshot,
    TimeoutNow,
)
from raftcore.protocol import (
    authority,
    compaction,
    election,
    follower,
    leader,
    priority,
    reads,
    reconfiguration,
    snapshot_installing,
    snapshot_sending,
    transfer,
    witness,
)
from raftcore.state import Node
from raftcore.state.log import RaftLog
from raftcore.status import Status, status_of
from raftcore.types import HardState, Membership, NodeId, Role, SnapshotMeta

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
    Snapshot: snapshot_installing.on_snapshot,
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

        `bootstrap` is the membership while the log holds none; where it has no voters either, the
        node waits until it is added.  Times are of one monotonic clock.
        `trace` is told everything that happens (`raftcore.trace`).
        """
        _check_time(now_ms)
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
            applied_index,
            rng,
            now_ms,
        )
        compaction.start(self._node)
        witness.check_start(self._node.log, config.node_id, witness=config.witness)
        self._reported: tuple[Role, int, NodeId | None]
        self._reported = (Role.FOLLOWER, hard_state.current_term, None)
        self._node.reset_election_timer()
        election.start_alone(self._node)
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
        return self._node.applying.applied_index

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
        return status_of(self._node)

    def cluster_time_ms(self, now_ms: int) -> int:
        """This node's estimate of cluster time; never falls."""
        self._advance(now_ms)
        return self._node.clock.read(self._node.now_ms)

    # ------------------------------------------------------------------ inputs

    def receive(self, message: Message, now_ms: int) -> None:
        """A message from a peer, in any order, once, twice or late."""
        handle = _HANDLERS.get(type(message))
        if handle is None:
            raise TypeError(f"{message!r} is no message: bytes are for codec.decode_message.")
        self._advance(now_ms)
        if not election.term_too_far_ahead(self._node, message.term):
            handle(self._node, message)

    def next_timer(self) -> int | None:
        """When `handle_timer` wants to be called, unless another input changes it."""
        node = self._node
        due: list[int | None]
        if node.leading is None:
            due = [node.election_due_ms, node.resend_due_ms, reads.next_timer(node)]
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
        if not isinstance(data, bytes):
            raise TypeError(f"A command is bytes, not {type(data).__name__}.")
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
        snapshot_installing.finish(self._node)

    def applied(self, index: int) -> None:
        """Entries up to `index` are in the state machine."""
        self._node.applying.applied(index)
        snapshot_installing.finish(self._node)

    # ------------------------------------------------------------------ snapshots

    def snapshot_meta(self, index: int, size: int = 0) -> SnapshotMeta | None:
        """What a snapshot of the state machine at `index` stands for (paper §7).

        `index` has been handed out to be applied.  None if the log has forgotten it, because a
        newer snapshot was installed meanwhile: then this one is of no use, and has failed.
        """
        return compaction.meta_of(self._node, index, size)

    def snapshot_taken(self, meta: SnapshotMeta, now_ms: int) -> None:
        """A snapshot of this node's own state is durable, whether asked for or not."""
        self._advance(now_ms)
        compaction.taken(self._node, meta)

    def snapshot_failed(self, now_ms: int) -> None:
        """The snapshot that was asked for could not be taken."""
        self._advance(now_ms)
        compaction.failed(self._node)

    def snapshot_sent(self, to: NodeId, message: Snapshot, now_ms: int, *, ok: bool) -> None:
        """What a `SendSnapshot` asked for is there, all of it, or was given up."""
        self._advance(now_ms)
        snapshot_sending.sent(self._node, to, message, ok=ok)

    def snapshot_arrived(self, message: Snapshot, now_ms: int) -> bool:
        """The message of a `SendSnapshot` and its snapshot have come in whole and are durable.

        If it is wanted, an `InstallSnapshot` follows; otherwise the snapshot may be thrown away.
        """
        self._advance(now_ms)
        if election.term_too_far_ahead(self._node, message.term):
            return False
        return snapshot_installing.arrived(self._node, message)

    # ------------------------------------------------------------------ effects

    def take_effects(self) -> list[Effect]:
        """All that is to be done because of the inputs so far, in order."""
        node = self._node
        authority.serve_reads(node)
        reconfiguration.follow_up(node)
        leader.replicate(node)
        compaction.ask(node)
        effects: list[Effect] = [*node.compaction.take(), *node.take_writes()]
        effects.extend(node.outbox.take(node.log.writes))
        if node.leading is not None:
            effects.extend(node.leading.take_snapshots())
        effects.extend(node.applying.take(node.log, node.config.apply_bytes_max))
        effects.extend(node.reads.take(node.applying.applied_index))
        node.log.trim(node.applying.offered_index)
        now = (node.role, node.current_term, node.leader)
        if now != self._reported:
            self._reported = now
            effects.append(RoleChanged(*now))
        return effects

    def _advance(self, now_ms: int) -> None:
        _check_time(now_ms)
        # Time never runs backwards here, whatever the driver says: stamps depend on it.
        if now_ms > self._node.now_ms:
            self._node.now_ms = now_ms


def _check_time(now_ms: int) -> None:
    # A fraction would go into entries, and fail only where they are written.
    if not isinstance(now_ms, int):
        raise TypeError(f"A time is an integer of milliseconds, not {now_ms!r}.")
