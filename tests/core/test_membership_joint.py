"""Joint configurations (paper §6; thesis §4.3): from their append until they are left."""

from __future__ import annotations

import pytest

from raftcore import (
    AddLearner,
    AddVoter,
    ChangeRefused,
    EntryKind,
    JointMode,
    Promote,
    Remove,
    Role,
)
from raftcore.codec import encode_membership
from raftcore.messages import (
    AppendEntries,
    PreVoteResponse,
    RequestVoteResponse,
)
from tests.core.changing import (
    ChangingCluster,
    change,
    joint,
    memberships,
    of,
    with_learners,
)
from tests.core.cluster import (
    acknowledge,
    answer_heartbeat,
    candidate,
    entry,
    member,
)

EXPLICIT = JointMode.EXPLICIT


def test_entries_go_to_all_servers_of_both_configurations():
    # "Log entries are replicated to all servers in both configurations" (§6).
    node = joint()
    node.propose(b"x")
    acknowledge(node, "d")
    assert {send.to for send in node.sent if isinstance(send.message, AppendEntries)} == {*"bcd"}


def test_agreement_needs_majorities_of_both_configurations():
    # "Agreement (for elections and entry commitment) requires separate majorities from both the
    # old and new configurations" (§6).  Old: a, b, c; new: a, d, e.
    node = joint(learners="de", gone="bc")
    joint_index = node.core.membership_index
    acknowledge(node, "d")
    assert node.core.commit_index < joint_index
    acknowledge(node, "e")
    assert node.core.commit_index < joint_index
    acknowledge(node, "c")
    assert node.core.commit_index == joint_index


def test_an_election_needs_majorities_of_both_configurations():
    data = encode_membership(of("ade", outgoing="abc"))
    node = member("a", entries=[entry(1, 1, data, EntryKind.MEMBERSHIP)])
    node.tick()
    for voter in "de":
        node.receive(PreVoteResponse(2, voter, granted=True))
        assert node.role is Role.PRE_CANDIDATE
    node.receive(PreVoteResponse(2, "b", granted=True))
    assert node.role is Role.CANDIDATE
    for voter in "bc":
        node.receive(RequestVoteResponse(2, voter, granted=True))
        assert node.role is Role.CANDIDATE
    node.receive(RequestVoteResponse(2, "e", granted=True))
    assert node.role is Role.LEADER


def test_any_server_of_either_configuration_may_lead():
    # "Any server from either configuration may serve as leader" (§6).
    entries = [entry(1, 1, encode_membership(of("ade", outgoing="abc")), EntryKind.MEMBERSHIP)]
    for name in "abcde":
        node = member(name, entries=entries)
        node.tick()
        assert node.role is Role.PRE_CANDIDATE


def test_a_leader_in_a_joint_configuration_needs_answers_from_both():
    node = joint(learners="de", gone="bc")
    for _ in range(20):
        if node.role is not Role.LEADER:
            break
        for follower in "de":
            answer_heartbeat(node, follower)
        node.tick()
    assert node.role is Role.FOLLOWER


def test_once_the_joint_configuration_is_committed_the_new_one_follows_by_itself():
    # "Once C_old,new has been committed ... it is now safe for the leader to create a log entry
    # describing C_new and replicate it to the cluster" (§6).
    cluster = ChangingCluster("abc")
    first = cluster.elect()
    old = [name for name in "abc" if name != first.name]
    cluster.join("d", "e")
    cluster.change(AddLearner("d"), AddLearner("e"))
    for name in "de":
        cluster.catch_up(name)
    cluster.change(Promote("d"), Promote("e"), *map(Remove, old))
    kept = first.name
    cluster.run(lambda: cluster.everywhere(of(f"{kept}de", removed="".join(old)), f"{kept}de"))
    steps = memberships(first)
    assert steps[-2] == of(f"{kept}de", outgoing="abc", auto_leave=True)


def test_not_before_it_is_committed():
    node = with_learners()
    change(node, Promote("d"), Remove("c"))
    acknowledge(node, "d")
    assert node.core.membership.joint
    acknowledge(node, "b")
    assert not node.core.membership.joint


def test_a_joint_configuration_may_wait_to_be_left_on_request():
    node = joint()
    with pytest.raises(ChangeRefused) as caught:
        node.core.leave_joint(node.now_ms)
    assert caught.value.reason == "in progress"
    acknowledge(node, "b")
    acknowledge(node, "d")
    assert node.core.membership == of("abd", outgoing="abc")
    index, _ = node.core.leave_joint(node.now_ms)
    assert node.core.membership == of("abd", removed="c")
    assert node.core.membership_index == index
    acknowledge(node, "b")
    with pytest.raises(ChangeRefused) as caught:
        node.core.leave_joint(node.now_ms)
    assert caught.value.reason == "not joint"


def test_the_next_leader_leaves_the_joint_configuration():
    # "If the leader crashes" after C_old,new (§6), its successor finds it in its log; and it too
    # commits an entry of its own term first.
    data = encode_membership(of("abd", outgoing="abc", auto_leave=True))
    entries = [entry(1, 1, data, EntryKind.MEMBERSHIP)]
    node = candidate("a", "abcd", entries=entries, applied_index=1)
    for voter in "bd":
        node.receive(RequestVoteResponse(2, voter, granted=True))
    assert node.role is Role.LEADER
    assert node.core.membership.joint
    for voter in "bd":
        acknowledge(node, voter)
    assert node.core.membership == of("abd", removed="c")


def test_leaving_waits_for_a_transfer_and_is_done_when_that_is_given_up():
    node = with_learners()
    change(node, Promote("d"), Remove("c"))
    node.core.transfer_leadership("b", node.now_ms)
    for voter in "bd":
        acknowledge(node, voter)
    assert node.core.commit_index == node.core.membership_index
    assert node.core.membership.joint
    while node.core.status(node.now_ms).transferring:
        for voter in "bd":
            answer_heartbeat(node, voter)
        node.tick()
    assert node.core.membership == of("abd", removed="c")


def test_a_node_is_replaced_in_one_change():
    cluster = ChangingCluster("abc")
    cluster.elect()
    cluster.join("d")
    cluster.change(AddLearner("d"))
    cluster.catch_up("d")
    gone = next(name for name in "abc" if name != cluster.leader.name)
    stay = "".join(sorted({*"abcd"} - {gone}))
    cluster.change(AddVoter("d"), Remove(gone))
    cluster.run(lambda: cluster.everywhere(of(stay, removed=gone), stay))
    cluster.leader.propose(b"x")
    cluster.run(lambda: all(cluster[name].applied[-1].data == b"x" for name in stay))
