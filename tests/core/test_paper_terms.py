"""Paper §5.1 and Figure 2, "Rules for Servers, All Servers": terms."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raftcore import HardState, InvariantViolation, Membership, Role, SnapshotMeta
from raftcore.codec import NUMBER_MAX
from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    Message,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Snapshot,
    TimeoutNow,
)
from raftcore.protocol.election import TERM_STEP_MAX
from raftcore.state.clock import STEP_MAX_MS
from tests.core.cluster import candidate, entry, leader, log_of, member


def with_term(term: int) -> list[Message]:
    """One of each message that tells of its sender's current term."""
    return [
        AppendEntries(term, "b", 0, 0, (), 0, 1),
        AppendEntriesResponse(term, "b", 1, success=True, match_index=1),
        AppendEntriesResponse(term, "b", 1, success=False, match_index=0),
        Heartbeat(term, "b", 0, 1),
        HeartbeatResponse(term, "b", 1),
        PreVoteResponse(term, "b", granted=False),
        RequestVote(term, "b", 0, 0, transfer=True),
        RequestVoteResponse(term, "b", granted=False),
    ]


@pytest.mark.parametrize("make", [member, candidate, leader], ids=lambda make: make.__name__)
@pytest.mark.parametrize("message", with_term(7), ids=lambda m: type(m).__name__)
def test_a_later_term_in_any_message_is_adopted_as_a_follower(make, message):
    # "If RPC request or response contains term T > currentTerm: set currentTerm = T, convert to
    # follower" (Figure 2).
    node = make()
    node.receive(message)
    assert node.role is Role.FOLLOWER
    assert node.core.current_term == 7
    assert node.disk.hard_state.current_term == 7


@pytest.mark.parametrize("message", [*with_term(3), TimeoutNow(3, "b")], ids=repr)
@pytest.mark.parametrize("make", [candidate, leader], ids=lambda make: make.__name__)
def test_messages_of_an_earlier_term_change_nothing(make, message):
    # "If a server receives a request with a stale term number, it rejects the request" (§5.1);
    # answers to what was asked in an earlier term are dropped.
    node = make(term=4)
    before = (node.role, node.core.current_term, node.core.commit_index, node.core.leader)
    persists = len(node.persists)
    node.take()
    node.receive(message)
    assert (node.role, node.core.current_term, node.core.commit_index, node.core.leader) == before
    assert len(node.persists) == persists
    for answer in node.take():
        assert answer.term == 5
        assert not getattr(answer, "success", False)
        assert not getattr(answer, "granted", False)


def test_a_stale_leader_is_told_of_the_later_term_by_append_and_by_heartbeat():
    # "Reply false if term < currentTerm" (Figure 2, AppendEntries 1).  Without an answer a node
    # that was cut off, and has the later term, could neither follow nor be followed.
    node = member(term=5)
    node.receive(AppendEntries(4, "b", 0, 0, (), 0, 9))
    assert node.take_one(AppendEntriesResponse, "b") == AppendEntriesResponse(
        5, "a", 9, success=False, match_index=0
    )
    node.receive(Heartbeat(4, "b", 0, 3))
    assert node.take_one(HeartbeatResponse, "b") == HeartbeatResponse(5, "a", 3)
    assert node.core.leader is None


def test_terms_survive_a_restart_and_never_fall():
    # "currentTerm: latest term server has seen (initialized to 0 on first boot, increases
    # monotonically)" (Figure 2).
    node = member(term=6, voted_for="b")
    assert node.core.current_term == 6
    node.receive(RequestVote(6, "c", 0, 0))
    assert not node.take_one(RequestVoteResponse).granted, "it voted for b in this term"


def test_a_term_that_is_missing_on_disk_refuses_to_start():
    # An entry of a term that the node does not know of: its vote of that term is gone.
    with pytest.raises(InvariantViolation, match="term 2"):
        member(entries=log_of(1, 2), term=1)


def test_a_pre_vote_asks_about_a_term_without_anybody_entering_it():
    node = member(term=2)
    node.receive(PreVote(9, "b", 0, 0))
    assert node.core.current_term == 2
    assert node.disk.hard_state == HardState(2, None)


def test_two_leaders_in_one_term_stop_the_node():
    # Election Safety (Figure 3): "at most one leader can be elected in a given term".
    node = leader()
    with pytest.raises(InvariantViolation, match="both lead"):
        node.receive(Heartbeat(node.core.current_term, "b", 0, 1))
    node = member()
    node.receive(Heartbeat(1, "b", 0, 1))
    with pytest.raises(InvariantViolation, match="both lead"):
        node.receive(AppendEntries(1, "c", 0, 0, (), 0, 1))


# ---------------------------------------------------------------- numbers that have an end


@pytest.mark.parametrize(
    "message",
    [
        PreVoteResponse(NUMBER_MAX, "b", granted=False),
        RequestVote(NUMBER_MAX, "b", 9, 9),
        Heartbeat(NUMBER_MAX, "b", 0, 1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_no_message_leads_to_the_end_of_terms(message):
    node = member(term=5)
    node.receive(message)
    assert node.core.current_term == 5 + TERM_STEP_MAX
    assert (node.core.leader, node.sent) == (None, []), "it led that far, and was dropped"
    node.receive(RequestVote(6 + TERM_STEP_MAX, "c", 9, 9))
    assert node.take_one(RequestVoteResponse).granted, "elections go on"


def test_who_is_far_behind_gets_there_by_steps():
    term = 7 * TERM_STEP_MAX // 2
    node = member(term=5)
    for sequence in range(4):
        node.receive(Heartbeat(term, "b", 0, sequence))
    assert (node.core.current_term, node.core.leader) == (term, "b")


def test_nor_does_a_snapshot():
    node = member(term=5, snapshots=True)
    meta = SnapshotMeta(7, 3, 0, Membership(frozenset("abc")))
    assert not node.snapshot_arrives(Snapshot(NUMBER_MAX, "b", 1, meta))
    assert node.core.current_term == 5 + TERM_STEP_MAX


def test_no_heartbeat_leads_to_the_end_of_time():
    node = member()
    node.receive(Heartbeat(1, "b", 0, 1, NUMBER_MAX))
    assert node.core.cluster_time_ms(0) == STEP_MAX_MS
    # Time that an entry holds never decreases behind it, whatever it is; then it stands still.
    node.receive(AppendEntries(1, "b", 0, 0, (replace(entry(1, 1), time_ms=NUMBER_MAX),), 0, 1))
    assert node.core.cluster_time_ms(1000) == NUMBER_MAX
