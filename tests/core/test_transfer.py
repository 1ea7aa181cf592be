"""Leadership transfer (thesis §3.10)."""

from __future__ import annotations

import pytest

from raftcore import NotLeader, ProposalRefused, Role, TransferRefused
from raftcore.messages import (
    Heartbeat,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from tests.core.cluster import (
    ELECTION_MS,
    Cluster,
    acknowledge,
    answer_heartbeat,
    leader,
    member,
)


def test_a_caught_up_target_is_told_at_once():
    node = leader()
    node.core.transfer_leadership("b", node.now_ms)
    node.pump()
    assert node.take_one(TimeoutNow, "b") == TimeoutNow(1, "a")
    assert node.core.status(node.now_ms).transferring


def test_a_target_that_lacks_entries_gets_them_first():
    # "The prior leader fully updates the target server's log to match its own" (§3.10).
    node = leader()
    node.propose(b"x")
    node.core.transfer_leadership("b", node.now_ms)
    node.pump()
    assert node.take(TimeoutNow) == []
    acknowledge(node, "c")
    assert node.take(TimeoutNow) == []
    acknowledge(node, "b")
    node.take_one(TimeoutNow, "b")


def test_proposals_are_refused_meanwhile():
    # "The prior leader stops accepting new client requests" (§3.10).
    node = leader()
    node.core.transfer_leadership("b", node.now_ms)
    with pytest.raises(ProposalRefused) as caught:
        node.propose(b"x")
    assert caught.value.reason == "transferring"


def test_a_transfer_that_takes_too_long_is_given_up():
    # "If leadership transfer does not complete after about an election timeout, the prior leader
    # aborts the transfer and resumes accepting client requests" (§3.10).
    node = leader()
    started_ms = node.now_ms
    node.core.transfer_leadership("b", started_ms)
    while node.now_ms < started_ms + ELECTION_MS:
        with pytest.raises(ProposalRefused):
            node.propose(b"x")
        answer_heartbeat(node, "c")
        node.tick()
    node.propose(b"x")
    assert not node.core.status(node.now_ms).transferring


def test_a_target_that_may_not_have_heard_is_told_again():
    node = leader()
    node.core.transfer_leadership("b", node.now_ms)
    node.pump()
    node.take()
    answer_heartbeat(node, "b")
    node.take_one(TimeoutNow, "b")


def test_without_a_name_the_best_voter_in_contact_is_chosen():
    node = leader(voters="abcd")
    node.propose(b"x")
    for voter in "bcd":
        answer_heartbeat(node, voter)
    acknowledge(node, "c")
    node.core.transfer_leadership(None, node.now_ms)
    node.pump()
    node.take_one(TimeoutNow, "c")


def test_nobody_in_contact_is_no_successor():
    node = leader()
    with pytest.raises(TransferRefused) as caught:
        node.core.transfer_leadership(None, node.now_ms)
    assert caught.value.reason == "nobody"
    with pytest.raises(TransferRefused):
        leader("a", "a").core.transfer_leadership(None, 0)


@pytest.mark.parametrize(
    ("to", "reason"), [("a", "itself"), ("x", "not a voter"), ("l", "not a voter")]
)
def test_only_another_voter_can_take_over(to, reason):
    node = leader(learners="l")
    with pytest.raises(TransferRefused) as caught:
        node.core.transfer_leadership(to, node.now_ms)
    assert caught.value.reason == reason
    node.propose(b"still leading")


def test_only_a_leader_can_hand_over():
    with pytest.raises(NotLeader):
        member().core.transfer_leadership("b", 0)


def test_the_target_campaigns_at_once_without_a_pre_vote():
    node = member("b")
    node.receive(Heartbeat(1, "a", 0, 1))
    node.take()
    node.receive(TimeoutNow(1, "a"))
    assert (node.role, node.core.current_term) == (Role.CANDIDATE, 2)
    assert node.take_one(RequestVote, "c") == RequestVote(2, "b", 0, 0, transfer=True)


def test_its_election_needs_nobody_to_have_lost_the_leader():
    node = member("c")
    node.receive(Heartbeat(1, "a", 0, 1))
    node.take()
    node.receive(RequestVote(2, "b", 0, 0, transfer=True))
    assert node.take_one(RequestVoteResponse).granted
    old = leader("a")
    old.receive(RequestVote(2, "b", 1, 1, transfer=True))
    assert old.role is Role.FOLLOWER
    assert old.take_one(RequestVoteResponse).granted


def test_an_election_lost_after_a_transfer_is_followed_by_an_ordinary_one():
    node = member("b")
    node.receive(TimeoutNow(1, "a"))
    due_ms = node.core._node.election_due_ms
    while node.now_ms < due_ms:
        node.tick()
    assert node.role is Role.PRE_CANDIDATE
    node.take()
    node.receive(PreVoteResponse(3, "c", granted=True))
    assert not node.take_one(RequestVote, "c").transfer


@pytest.mark.parametrize("message", [TimeoutNow(1, "b")])
def test_a_leader_told_to_campaign_does_not(message):
    node = leader()
    node.receive(message)
    assert (node.role, node.core.current_term) == (Role.LEADER, 1)


def test_who_is_no_voter_does_not_campaign():
    for node in (member("l", "abc", learners="l"), member("x", "abc")):
        assert node.core.next_timer() is None
        node.receive(TimeoutNow(1, "a"))
        node.core.handle_timer(100 * ELECTION_MS)
        assert node.role is Role.FOLLOWER


def test_a_learner_that_is_asked_to_vote_does():
    # Its own configuration may be the one that is out of date.
    node = member("l", "abc", learners="l")
    node.receive(RequestVote(1, "a", 0, 0))
    assert node.take_one(RequestVoteResponse).granted


@pytest.mark.parametrize("seed", range(10))
def test_leadership_moves_on_request_and_nothing_is_lost(seed):
    cluster = Cluster("abc", seed=seed)
    node = cluster.elect()
    for index in range(10):
        node.core.propose(b"%d" % index, cluster.now_ms)
    target = next(name for name in "abc" if name != node.name)
    node.core.transfer_leadership(target, cluster.now_ms)
    started_ms = cluster.now_ms
    cluster.run(lambda: cluster[target].role is Role.LEADER)
    assert cluster.now_ms - started_ms < ELECTION_MS
    cluster[target].propose(b"after")
    cluster.run(lambda: all(m.applied[-1].data == b"after" for m in cluster.members.values()))
