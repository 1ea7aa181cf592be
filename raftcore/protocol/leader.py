"""Leading: appending, replicating, committing (paper §5.3, §5.4.2)."""

from __future__ import annotations

from raftcore import quorum
from raftcore.codec import encode_membership
from raftcore.errors import InvariantViolation, NotLeader, ProposalRefused
from raftcore.messages import AppendEntries, AppendEntriesResponse, HeartbeatResponse
from raftcore.protocol import authority, reads, snapshot_sending, transfer, witness
from raftcore.state import Leading, Node
from raftcore.state.log import ENTRY_OVERHEAD_BYTES, entry_size
from raftcore.state.progress import Progress, ProgressState
from raftcore.types import Entry, EntryKind, NodeId, Role

_DISK_READS_MAX = 2
"""AppendEntries per follower and turn that are read from the disk: the driver's loop waits."""


def become_leader(node: Node) -> None:
    """An election was won; show it, and append an entry of the new term.

    Entries of earlier terms commit only together with one of this term (paper §5.4.2), hence the
    no-op (§8).  In a log that has none yet, the entry is the membership the cluster begins with.
    """
    if node.role is not Role.CANDIDATE or node.leader is not None:
        raise InvariantViolation(f"{node.node_id} won an election it is not standing for")
    node.role = Role.LEADER
    node.leader = node.node_id
    node.votes = {}
    node.election_due_ms = None
    node.resend_due_ms = None
    leading = node.leading = Leading(
        since_ms=node.now_ms,
        heartbeat_due_ms=node.now_ms,
        grace_until_ms=node.now_ms + node.config.election_timeout_ms,
        offered_ms=node.now_ms,
    )
    # "nextIndex: initialized to leader last log index + 1" (Figure 2).
    next_index = node.log.last_index + 1
    for member in sorted(node.membership.members - {node.node_id}):
        leading.progress[member] = Progress(next_index, leading.next_session())
    if next_index == 1:
        node.append(EntryKind.MEMBERSHIP, encode_membership(node.membership))
    else:
        node.append(EntryKind.NOOP, b"")
    authority.beat(node, leading)


def propose(node: Node, data: bytes) -> tuple[int, int]:
    """Append a command; (index, term) names it for ever."""
    leading = node.leading
    if leading is None:
        raise NotLeader(node.leader)
    if leading.transfer is not None:
        raise ProposalRefused("transferring")
    waiting = node.log.uncommitted_bytes
    # Whatever its size, one entry may always come in: nothing else would make room for it.
    if waiting and waiting + len(data) + ENTRY_OVERHEAD_BYTES > node.config.uncommitted_bytes_max:
        raise ProposalRefused("busy")
    return node.append(EntryKind.COMMAND, data), node.current_term


def replicate(node: Node) -> None:
    """Send every follower what it lacks and may get."""
    leading = node.leading
    if leading is None:
        return
    last_index, witnesses = node.log.last_index, node.membership.witnesses
    for_witnesses = witness.limit(node, leading) if witnesses else last_index
    for member, progress in leading.progress.items():
        through = for_witnesses if member in witnesses else last_index
        _replicate_to(node, leading, member, progress, through=through)


def on_append_entries_response(node: Node, message: AppendEntriesResponse) -> None:
    """A follower holds entries, or does not agree with the place they were to go to."""
    if not node.answers_present_term(message.term) or node.leading is None:
        return
    leading = node.leading
    progress = leading.progress.get(message.follower)
    if progress is None or message.session < progress.first_session:
        # Of an earlier incarnation: what that one held this one may not.
        return
    progress.heard_ms = node.now_ms
    if message.success and message.witness is not (message.follower in node.membership.witnesses):
        # A copy without data must not be taken for one that has it.
        return
    if not message.success:
        _on_refusal(node, leading, progress, message)
    elif message.match_index <= node.log.last_index and progress.acknowledged(
        message.match_index, node.log.first_index
    ):
        # No follower can hold more than was sent; one that says so is not counted.
        progress.round(node.log.last_index, node.now_ms, node.config)
        commit(node)
        transfer.proceed(node, leading, message.follower, progress)


def on_heartbeat_response(node: Node, message: HeartbeatResponse) -> None:
    """A follower is there, and takes this node for the leader."""
    if not node.answers_present_term(message.term) or node.leading is None:
        return
    leading = node.leading
    progress = leading.progress.get(message.follower)
    if progress is None:
        return
    progress.heard_ms = node.now_ms
    progress.priority = message.priority
    if authority.contact(leading, progress, message.sequence):
        progress.heartbeat_answered()
    reads.confirm(node, leading)
    transfer.proceed(node, leading, message.follower, progress, again=True)


def commit(node: Node) -> None:
    """Raise the commit index as far as a quorum holds the log.

    "If there exists an N such that N > commitIndex, a majority of matchIndex[i] >= N, and
    log[N].term == currentTerm: set commitIndex = N" (paper, Figure 2; §5.4.2 says why only an entry
    of its own term may be counted).
    """
    leading = node.leading
    if leading is None:
        return

    def match_index(member: NodeId) -> int:
        # A leader holds what is durable on its own disk, not what it has only thought of.
        if member == node.node_id:
            return node.log.stable_index
        progress = leading.progress.get(member)
        return progress.match_index if progress else 0

    index = quorum.reached(node.membership, match_index)
    if index > node.log.commit_index and node.log.term(index) == node.current_term:
        node.log.commit_to(index)


def _on_refusal(
    node: Node, leading: Leading, progress: Progress, message: AppendEntriesResponse
) -> None:
    if message.session != progress.session or not progress.refused(message.rejected_index):
        return
    agreed = node.log.last_index_at_most(message.hint_index, message.hint_term)
    # Always before what was refused, so that probing comes to an end.
    next_index = min(agreed + 1, message.rejected_index)
    progress.probe(next_index, leading.next_session())


def _replicate_to(
    node: Node, leading: Leading, member: NodeId, progress: Progress, *, through: int
) -> None:
    config, log = node.config, node.log
    progress.round(through, node.now_ms, config)
    if progress.next_index < log.first_index:
        snapshot_sending.send(node, leading, member, progress, through=through)
        return
    disk_reads = 0
    while progress.next_index <= through and progress.may_send(config):
        if not log.in_memory(progress.next_index):
            if disk_reads == _DISK_READS_MAX:
                break
            disk_reads += 1
        entries = log.entries(progress.next_index, through, config.append_bytes_max)
        if member in node.membership.witnesses:
            entries = witness.without_data(entries)
        _send(node, member, progress, entries)
        progress.sent(entries[-1].index, sum(map(entry_size, entries)))
    if progress.check_due:
        # In a session of its own, so that it is answered whatever was answered before.
        progress.session = leading.next_session()
        _send(node, member, progress, ())
    elif progress.may_be_told(log.commit_index):
        _send(node, member, progress, ())


def _send(node: Node, member: NodeId, progress: Progress, entries: tuple[Entry, ...]) -> None:
    log = node.log
    prev = progress.next_index - 1
    progress.check_due = False
    if progress.state is ProgressState.REPLICATE:
        progress.commit_sent = min(log.commit_index, prev + len(entries))
    node.outbox.send(
        member,
        AppendEntries(
            term=node.current_term,
            leader=node.node_id,
            prev_log_index=prev,
            prev_log_term=log.term(prev),
            entries=entries,
            leader_commit=log.commit_index,
            session=progress.session,
        ),
    )
