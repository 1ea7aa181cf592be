"""Leader election (paper §5.2, §5.4.1) with a pre-vote (thesis §9.6).

A pre-vote asks whether an election could be won and changes nothing, on either side: a node that
was cut off comes back without disturbing anybody.  Votes are counted by voter; this node's own
counts once it is on its own disk.
"""

from __future__ import annotations

from raftcore import quorum
from raftcore.messages import (
    PreVote,
    PreVoteResponse,
    Removed,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from raftcore.protocol import leader, priority, reads
from raftcore.state import Node
from raftcore.types import NodeId, Role

TERM_STEP_MAX = 1 << 20
"""The furthest that one message leads into a later term."""


def term_too_far_ahead(node: Node, term: int) -> bool:
    """Whether a message is of a term that this node is only led towards by it, and is dropped.

    Terms never fall and have an end, so one message of the last of them would be the last election
    of the cluster.  Who honestly is behind by more than a step needs a few messages.
    """
    if term <= node.current_term + TERM_STEP_MAX:
        return False
    node.become_follower(node.current_term + TERM_STEP_MAX, None)
    return True


def on_timer(node: Node) -> None:
    """The election timer of everybody but the leader."""
    now_ms = node.now_ms
    if node.election_due_ms is not None and now_ms >= node.election_due_ms:
        late_ms = now_ms - node.election_due_ms
        if late_ms >= node.config.heartbeat_ms and node.other_voters and not node.postponed:
            # This node itself was asleep, and heartbeats may lie unread.  Draw again, but once
            # only, or a node that is always late would never campaign.
            node.reset_election_timer()
            node.postponed = True
            return
        pre_campaign(node)
    elif node.resend_due_ms is not None and now_ms >= node.resend_due_ms:
        _ask(node)


def start_alone(node: Node) -> None:
    """At its start: the only voter need not wait for anybody.

    Unless it may have become that only just now.  Whoever led until then may not know that the
    change is committed, lead on, and answer reads from a lease that rests on this node's promise
    alone: then that binds its own vote as well.
    """
    if not node.promotable or node.other_voters:
        return
    may_count = node.log.memberships_that_may_count()
    alone = all(quorum.voters(membership) == {node.node_id} for membership in may_count)
    node.election_due_ms = node.now_ms if alone else max(node.now_ms, node.promised_until_ms)


def pre_campaign(node: Node) -> None:
    """Ask whether an election could be won."""
    node.courtesy_ms = 0
    node.reset_election_timer()
    if not node.promotable:
        return
    if priority.stands_back(node):
        node.stood_back += 1
        node.become_follower(node.current_term, None)
        node.leader = None
        return
    node.role = Role.PRE_CANDIDATE
    node.leader = None
    node.votes = {node.node_id: True}
    node.transfer_election = False
    _ask(node)
    _count_pre_votes(node)


def campaign(node: Node, *, transfer: bool = False) -> None:
    """Start an election.

    "To begin an election, a follower increments its current term and transitions to candidate
    state.  It then votes for itself and issues RequestVote RPCs" (paper §5.2).
    """
    node.set_hard_state(node.current_term + 1, node.node_id)
    node.role = Role.CANDIDATE
    node.leader = None
    node.votes = {}
    node.transfer_election = transfer
    node.reset_election_timer()
    _ask(node)


def on_state_durable(node: Node) -> None:
    """Term and vote may have reached the disk; a candidate's own vote counts from then on."""
    if node.role is Role.CANDIDATE and node.state_durable:
        node.votes[node.node_id] = True
        _count_votes(node)


def on_pre_vote(node: Node, message: PreVote) -> None:
    """Say whether this node would vote for the candidate; nothing changes here (thesis §9.6)."""
    if _told_removed(node, message.candidate):
        return
    granted = (
        message.term > node.current_term
        and not _hears_leader(node, message.candidate)
        and _up_to_date(node, message)
    )
    # A refusal carries this node's own term: a candidate that is behind learns it.
    term = message.term if granted else node.current_term
    node.outbox.send(message.candidate, PreVoteResponse(term, node.node_id, granted))


def on_pre_vote_response(node: Node, message: PreVoteResponse) -> None:
    """Count an answer to this node's own pre-vote."""
    if message.granted:
        if node.role is not Role.PRE_CANDIDATE or message.term != node.current_term + 1:
            return
    elif not node.answers_present_term(message.term) or node.role is not Role.PRE_CANDIDATE:
        return
    node.votes[message.voter] = message.granted
    _count_pre_votes(node)


def on_request_vote(node: Node, message: RequestVote) -> None:
    """Vote, or not (paper §5.2, §5.4.1).

    "If a server receives a RequestVote request within the minimum election timeout of hearing from
    a current leader, it does not update its term or grant its vote" (thesis §4.2.3), unless that
    leader itself asked for the election (§3.10).
    """
    if _told_removed(node, message.candidate):
        return
    if message.term > node.current_term:
        if not message.transfer and _hears_leader(node, message.candidate):
            return
        node.become_follower(message.term, None)
    granted = (
        message.term == node.current_term
        and (node.voted_for == message.candidate or _free_to_vote(node, message))
        and _up_to_date(node, message)
    )
    if granted:
        if node.voted_for is None:
            node.set_hard_state(node.current_term, message.candidate)
        node.reset_election_timer()
    node.outbox.send(
        message.candidate, RequestVoteResponse(node.current_term, node.node_id, granted)
    )


def on_request_vote_response(node: Node, message: RequestVoteResponse) -> None:
    """Count a vote of this term."""
    if node.answers_present_term(message.term) and node.role is Role.CANDIDATE:
        node.votes[message.voter] = message.granted
        _count_votes(node)


def on_timeout_now(node: Node, message: TimeoutNow) -> None:
    """The leader wants this node to take over: no pre-vote, and voters need not have lost it."""
    if message.term < node.current_term:
        return
    if message.term > node.current_term:
        node.become_follower(message.term, None)
    # A leader has nothing to take over, and a candidate is at it already.
    if node.role is Role.FOLLOWER and node.promotable:
        campaign(node, transfer=True)


def on_removed(node: Node, message: Removed) -> None:
    """This node is no member any more: it leaves the others in peace."""
    if message.term > node.current_term:
        node.become_follower(message.term, None)
    if node.role is Role.LEADER:
        return
    node.become_follower(node.current_term, None)
    node.removed = True
    node.election_due_ms = None
    reads.give_up(node, "no leader")


def _told_removed(node: Node, candidate: NodeId) -> bool:
    """Tell a candidate that it was removed, if that is committed."""
    log = node.log
    if candidate not in log.membership.removed or log.membership_index > log.commit_index:
        return False
    node.outbox.send(candidate, Removed(node.current_term, node.node_id))
    return True


def _ask(node: Node) -> None:
    # Servers retry if there is no answer in time (paper §5.1); who has answered is left in peace.
    node.resend_due_ms = node.now_ms + node.config.heartbeat_ms
    last = (node.log.last_index, node.log.last_term)
    for voter in node.other_voters:
        if voter in node.votes:
            continue
        if node.role is Role.PRE_CANDIDATE:
            node.outbox.send(voter, PreVote(node.current_term + 1, node.node_id, *last))
        else:
            node.outbox.send(
                voter,
                RequestVote(node.current_term, node.node_id, *last, node.transfer_election),
            )


def _count_pre_votes(node: Node) -> None:
    if quorum.vote_result(node.membership, node.votes) is quorum.VoteResult.WON:
        campaign(node)


def _count_votes(node: Node) -> None:
    if quorum.vote_result(node.membership, node.votes) is quorum.VoteResult.WON:
        leader.become_leader(node)


def _up_to_date(node: Node, candidate: PreVote | RequestVote) -> bool:
    # "If the logs have last entries with different terms, then the log with the later term is more
    # up-to-date.  If the logs end with the same term, then whichever log is longer" (paper §5.4.1).
    theirs = (candidate.last_log_term, candidate.last_log_index)
    return theirs >= (node.log.last_term, node.log.last_index)


def _free_to_vote(node: Node, message: RequestVote) -> bool:
    if node.voted_for is not None or node.leader:
        return False
    return message.transfer or not _promised(node, message.candidate)


def _promised(node: Node, candidate: NodeId) -> bool:
    # A lease outlives what this node knows of its leader: a later term heard of, or a restart.
    return (
        node.config.lease_reads
        and node.promised_to != candidate
        and node.now_ms < node.promised_until_ms
    )


def _hears_leader(node: Node, candidate: NodeId) -> bool:
    # A leader that campaigns is none any more, so having heard it lately is no reason to refuse.
    if node.role is Role.LEADER or _promised(node, candidate):
        return True
    if node.leader is None or node.leader == candidate or node.heard_leader_ms is None:
        return False
    return node.now_ms - node.heard_leader_ms < node.config.election_timeout_ms
