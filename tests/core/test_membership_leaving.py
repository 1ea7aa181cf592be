"""Servers that leave: leaders among them, and those that have not heard of it (paper §6; thesis §4.2)."""

from __future__ import annotations

import pytest

from raftcore import (
    AddLearner,
    Demote,
    EntryKind,
    JointMode,
    Remove,
    Role,
)
from raftcore.codec import encode_membership
from raftcore.messages import (
    AppendEntries,
    Heartbeat,
    PreVote,
    PreVoteResponse,
    Removed,
    RequestVote,
    TimeoutNow,
)
from tests.core.changing import (
    ChangingCluster,
    change,
    of,
    refused,
)
from tests.core.cluster import (
    ELECTION_MS,
    acknowledge,
    candidate,
    entry,
    leader,
    member,
    start,
)

EXPLICIT = JointMode.EXPLICIT


def test_a_removed_leader_replicates_but_does_not_count_itself():
    # "There will be a period of time (while it is committing C_new) when the leader is managing a
    # cluster that does not include itself; it replicates log entries but does not count itself in
    # majorities" (§6).
    node = leader()
    change(node, Remove("a"))
    node.propose(b"x")
    acknowledge(node, "b", 2)
    assert node.core.commit_index == 1
    assert node.role is Role.LEADER
    acknowledge(node, "c", 2)
    assert node.core.commit_index == 2


def test_it_steps_down_once_the_new_configuration_is_committed():
    # "In this case, the leader steps down (returns to follower state) once it has committed the
    # C_new log entry" (§6).
    node = leader()
    change(node, Remove("a"))
    acknowledge(node, "b")
    assert node.role is Role.LEADER
    node.take()
    acknowledge(node, "c")
    assert node.role is Role.FOLLOWER
    assert node.core.removed
    assert node.core.next_timer() is None
    assert node.take_one(TimeoutNow) == TimeoutNow(1, "a")


@pytest.mark.parametrize("kind", [Remove, Demote])
@pytest.mark.parametrize("joint_mode", [JointMode.AUTO, JointMode.ALWAYS])
def test_the_others_go_on_without_the_leader_that_left(kind, joint_mode):
    cluster = ChangingCluster("abc")
    old = cluster.elect()
    cluster.change(kind(old.name), joint=joint_mode)
    began_ms = cluster.now_ms
    cluster.run(lambda: any(node is not old for node in cluster.leaders))
    assert cluster.now_ms - began_ms < ELECTION_MS
    cluster.leader.propose(b"x")
    rest = [name for name in "abc" if name != old.name]
    cluster.run(lambda: all(cluster[name].applied[-1].data == b"x" for name in rest))
    assert old.core.removed is (kind is Remove)


def test_a_removed_server_is_told_once_that_is_committed():
    node = leader()
    change(node, Remove("c"))
    assert node.take(Removed) == []
    acknowledge(node, "b")
    assert node.take_one(Removed, "c") == Removed(1, "a")
    gone = member("c")
    gone.receive(Removed(1, "a"))
    assert gone.core.removed
    assert gone.core.next_timer() is None


def test_a_removed_server_that_was_not_reached_is_told_when_it_campaigns():
    cluster = ChangingCluster("abc")
    cluster.elect()
    gone = next(name for name in "abc" if name != cluster.leader.name)
    cluster.cut = {gone}
    cluster.change(Remove(gone))
    cluster.run_for(5 * ELECTION_MS)
    assert cluster[gone].role is not Role.FOLLOWER
    term = cluster.leader.core.current_term
    cluster.cut = set()
    cluster.run(lambda: cluster[gone].core.removed)
    assert cluster[gone].role is Role.FOLLOWER
    cluster.rest()
    assert cluster.leader.core.current_term == term


def test_whichever_way_it_asks_for_votes():
    node = leader()
    change(node, Remove("c"))
    acknowledge(node, "b")
    node.take()
    for message in (PreVote(2, "c", 1, 1), RequestVote(2, "c", 1, 1)):
        node.receive(message)
        assert node.take() == [Removed(1, "a")]


def test_who_learns_that_it_is_no_voter_any_more_does_not_campaign():
    node = member("c")
    for index, membership in enumerate((of("abc"), of("ab", removed="c")), 1):
        data = encode_membership(membership)
        one = entry(index, 1, data, EntryKind.MEMBERSHIP)
        node.receive(AppendEntries(1, "a", index - 1, index - 1 and 1, (one,), 0, 1))
    node.receive(Heartbeat(1, "a", 2, 1))
    node.take()
    while node.core.next_timer() is not None:
        node.tick()
    assert (node.role, node.sent) == (Role.FOLLOWER, [])
    assert node.core.removed


def test_nobody_is_told_of_a_removal_that_may_still_be_undone():
    node = leader()
    change(node, Remove("c"))
    node.take()
    node.receive(PreVote(2, "c", 1, 1))
    assert not node.take_one(PreVoteResponse, "c").granted
    assert node.take(Removed) == []


def test_a_candidate_that_hears_it_was_removed_gives_up_and_a_leader_does_not():
    node = candidate("c")
    node.receive(Removed(1, "a"))
    assert node.role is Role.FOLLOWER
    node.receive(TimeoutNow(1, "a"))
    assert node.role is Role.FOLLOWER
    late = leader("a")
    late.receive(Removed(1, "b"))
    assert late.role is Role.LEADER
    late.receive(Removed(2, "b"))
    assert (late.role, late.core.current_term) == (Role.FOLLOWER, 2)
    assert late.core.removed


def test_a_removed_server_that_campaigns_with_a_later_term_does_not_depose_the_leader():
    # "Servers disregard RequestVote RPCs when they believe a current leader exists" (§6).
    node = member("b")
    node.receive(Heartbeat(1, "a", 0, 1))
    node.take()
    node.receive(RequestVote(7, "x", 9, 6))
    assert node.take() == []
    assert node.core.current_term == 1


def test_a_removed_server_never_comes_back_under_its_id():
    node = leader()
    change(node, Remove("c"))
    acknowledge(node, "b")
    assert refused(node, AddLearner("c")) == "removed"
    again = start("a", node.disk, "abc", applied_index=2)
    assert again.core.membership.removed == {"c"}


def test_answers_of_a_removed_server_count_for_nothing():
    node = leader("a", "abcd")
    change(node, Remove("d"))
    node.receive(PreVoteResponse(2, "d", granted=True))
    acknowledge(node, "b")
    assert node.core.commit_index == 2
    node.propose(b"x")
    assert "d" not in {send.to for send in node.sent if isinstance(send.message, AppendEntries)}


def test_a_demoted_server_stays_as_a_learner():
    cluster = ChangingCluster("abc")
    cluster.elect()
    name = next(name for name in "abc" if name != cluster.leader.name)
    stay = "".join(sorted({*"abc"} - {name}))
    cluster.change(Demote(name))
    cluster.run(lambda: cluster.everywhere(of(stay, name), "abc"))
    cluster.leader.propose(b"x")
    cluster.run(lambda: cluster[name].applied[-1].data == b"x")
    assert cluster[name].core.next_timer() is None
