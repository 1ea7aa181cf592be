"""Linearizable reads without entries in the log (thesis §6.4).

A leader notes its commit index and lets a quorum confirm, by answering a heartbeat sent after the
question came, that nobody else led meanwhile; then any state machine that has applied up to that
index may be read.  A round is known by the number of its heartbeat, the leader's own counter, so
that no retry of anybody's can be mistaken for another question.  All questions that come while one
round is under way share the next.

Followers and learners ask the leader, one question at a time for all reads that wait; a request's
number only finds the answer's way back.  Nothing here sends heartbeats: `authority` does.
"""

from __future__ import annotations

from raftcore import quorum
from raftcore.effects import ReadRefusal
from raftcore.messages import ReadIndex, ReadIndexResponse
from raftcore.state import Leading, Node
from raftcore.state.reads import Asked, Confirmed, Round
from raftcore.types import NodeId


def ask(node: Node) -> int:
    """A read begins; its number, for `ReadReady` or `ReadRefused`."""
    reads = node.reads
    reads.last_id += 1
    reads.pending += 1
    if reads.pending > node.config.reads_max:
        reads.refuse([reads.last_id], "busy")
    elif node.config.witness:
        reads.refuse([reads.last_id], "witness")
    else:
        reads.waiting.append(reads.last_id)
    return reads.last_id


def on_read_index(node: Node, message: ReadIndex) -> None:
    """Another member asks."""
    if message.term > node.current_term:
        node.become_follower(message.term, None)
    leading = node.leading
    if (
        leading is None
        or message.term < node.current_term
        or message.follower not in leading.progress
    ):
        _answer(node, message.follower, message.request, None)
        return
    _end_earlier_terms(node)
    node.reads.forwarded[message.follower] = message.request


def on_read_index_response(node: Node, message: ReadIndexResponse) -> None:
    """The leader answers."""
    if not node.answers_present_term(message.term):
        return
    reads, asked = node.reads, node.reads.asked
    if asked is None or (asked.term, asked.request) != (message.term, message.request):
        return
    reads.asked = None
    if message.granted:
        reads.confirmed.append(Confirmed(message.index, asked.reads, node.now_ms))
    else:
        reads.refuse(asked.reads, "leader lost")


def ask_again(node: Node) -> None:
    """The leader is there; a question that it has not answered for a while may be lost."""
    asked = node.reads.asked
    if asked is not None and node.now_ms - asked.sent_ms >= node.config.heartbeat_ms:
        asked.sent_ms = node.now_ms
        node.outbox.send(asked.leader, ReadIndex(asked.term, node.node_id, asked.request))


def next_timer(node: Node) -> int | None:
    """When `on_timer` has something to do, unless the leader is heard."""
    asked, given_up_ms = node.reads.asked, _given_up_ms(node)
    if asked is None or given_up_ms is None:
        return given_up_ms if asked is None else asked.deadline_ms
    return min(asked.deadline_ms, given_up_ms)


def on_timer(node: Node) -> None:
    """Give up a question that nobody answers, and an index that nobody brings."""
    asked, given_up_ms = node.reads.asked, _given_up_ms(node)
    if asked is not None and node.now_ms >= asked.deadline_ms:
        node.reads.asked = None
        node.reads.refuse(asked.reads, "no answer")
    if given_up_ms is not None and node.now_ms >= given_up_ms:
        give_up(node, "no answer")


def give_up(node: Node, reason: ReadRefusal) -> None:
    """Nobody is going to tell this node that these reads' indexes are committed."""
    confirmed, commit_index = node.reads.confirmed, node.log.commit_index
    while confirmed and confirmed[-1].index > commit_index:
        node.reads.refuse(confirmed.pop().reads, reason)


def _given_up_ms(node: Node) -> int | None:
    # As long as a leader is heard, the entries may be on their way.
    confirmed, heard_ms = node.reads.confirmed, node.heard_leader_ms
    if not confirmed or confirmed[-1].index <= node.log.commit_index:
        return None
    since_ms = confirmed[-1].since_ms
    last_ms = since_ms if heard_ms is None else max(since_ms, heard_ms)
    return last_ms + node.config.election_timeout_ms


def settle(node: Node) -> None:
    """Give every read that waits its way, and refuse those whose way has ended."""
    reads = node.reads
    _end_earlier_terms(node)
    asked = reads.asked
    if asked is not None and (asked.term, asked.leader) != (node.current_term, node.leader):
        reads.asked = None
        reads.refuse(asked.reads, "leader lost")
    if node.leading is None and reads.waiting and reads.asked is None:
        _ask_leader(node)


def may_serve(node: Node) -> bool:
    """Whether reads wait at this leader that it may answer, once it knows that it leads.

    "If the leader has not yet marked an entry from its current term committed, it waits until it
    has done so" (thesis §6.4): before that it may not know what is committed.
    """
    reads = node.reads
    return (
        node.leading is not None
        and bool(reads.waiting or reads.forwarded)
        and node.log.term(node.log.commit_index) == node.current_term
    )


def join_round(node: Node, leading: Leading) -> None:
    """A heartbeat is being sent: whatever was asked before is covered by answers to it."""
    if not may_serve(node):
        return
    _end_earlier_terms(node)
    reads, index = node.reads, node.log.commit_index
    reads.rounds.append(Round(leading.sequence, index, reads.waiting, reads.forwarded))
    reads.waiting, reads.forwarded = [], {}
    confirm(node, leading)


def confirm(node: Node, leading: Leading) -> None:
    """Heartbeats were answered; confirm the rounds that a quorum has answered."""
    rounds = node.reads.rounds
    if not rounds or node.reads.served_term != node.current_term:
        return

    def answered(member: NodeId) -> int:
        if member == node.node_id:
            return leading.sequence
        progress = leading.progress.get(member)
        return progress.answered_sequence if progress else 0

    sequence = quorum.reached(node.membership, answered)
    while rounds and rounds[0].sequence <= sequence:
        done = rounds.popleft()
        _grant(node, done.index, done.here, done.forwarded)


def grant_waiting(node: Node) -> None:
    """A lease covers whatever waits: no round is needed."""
    reads = node.reads
    _grant(node, node.log.commit_index, reads.waiting, reads.forwarded)
    reads.waiting, reads.forwarded = [], {}


def _grant(node: Node, index: int, here: list[int], forwarded: dict[NodeId, int]) -> None:
    if here:
        node.reads.confirmed.append(Confirmed(index, here, node.now_ms))
    for follower, request in forwarded.items():
        _answer(node, follower, request, index)


def _end_earlier_terms(node: Node) -> None:
    # Heartbeats are numbered anew in each term: what waited for those of an earlier one would be
    # confirmed by those of this.
    reads = node.reads
    if node.leading is not None and reads.served_term == node.current_term:
        return
    reads.served_term = node.current_term
    for lost in reads.rounds:
        reads.refuse(lost.here, "leader lost")
    for questions in (*(lost.forwarded for lost in reads.rounds), reads.forwarded):
        for follower, request in questions.items():
            _answer(node, follower, request, None)
    reads.rounds.clear()
    reads.forwarded = {}


def _answer(node: Node, follower: NodeId, request: int, index: int | None) -> None:
    node.outbox.send(
        follower,
        ReadIndexResponse(
            term=node.current_term,
            leader=node.node_id,
            request=request,
            granted=index is not None,
            index=index or 0,
        ),
    )


def _ask_leader(node: Node) -> None:
    reads, leader = node.reads, node.leader
    waiting, reads.waiting = reads.waiting, []
    if leader is None:
        reads.refuse(waiting, "no leader")
        return
    request, now_ms = reads.next_request, node.now_ms
    reads.next_request += 1
    reads.asked = Asked(
        leader,
        node.current_term,
        request,
        waiting,
        sent_ms=now_ms,
        deadline_ms=now_ms + node.config.election_timeout_ms,
    )
    node.outbox.send(leader, ReadIndex(node.current_term, node.node_id, request))
