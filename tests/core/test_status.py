"""What `status()` says: all that an operator asks."""

from __future__ import annotations

import pytest

from raftcore import EntryKind, Membership
from raftcore.codec import encode_membership
from raftcore.messages import Heartbeat
from tests.core.changing import of as members
from tests.core.cluster import (
    ELECTION_MS,
    acknowledge,
    answer_heartbeat,
    entry,
    leader,
    log_of,
    member,
    membership_entry,
)

KIB = b"x" * 1024


def of(node, name=None):
    status = node.core.status(node.now_ms)
    return status if name is None else next(m for m in status.members if m.id == name)


def begins_with(membership):
    return entry(1, 1, encode_membership(membership), EntryKind.MEMBERSHIP)


def test_how_far_the_log_goes():
    node = leader(entries=log_of(1, 1, 2), settled=False, slow_disk=True)
    status = of(node)
    assert (status.first_index, status.last_index, status.last_term) == (1, 4, 3)
    assert (status.stable_index, status.commit_index, status.applied_index) == (3, 0, 0)
    node.write_and_pump()
    assert of(node).stable_index == 4


def test_what_waits_to_be_committed_and_what_is_in_memory():
    node = leader()
    node.propose(KIB)
    assert of(node).uncommitted_bytes == 1024 + 64
    acknowledge(node, "b")
    assert of(node).uncommitted_bytes == 0
    assert of(node).memory_bytes >= 1024


def test_how_a_leader_sends_to_each_member():
    node = leader(inflight_max=2, settled=False)
    assert (of(node, "b").state, of(node, "b").paused) == ("probe", True)
    acknowledge(node, "b")
    assert (of(node, "b").state, of(node, "b").paused) == ("replicate", False)
    node.propose(KIB)
    node.propose(KIB)
    seen = of(node, "b")
    assert (seen.match_index, seen.next_index) == (1, 4)
    assert (seen.inflight, seen.inflight_bytes, seen.paused) == (2, 2 * (1024 + 64), True)
    assert of(node, "a").state is None


def test_whom_a_leader_has_heard():
    node = leader(settled=False)
    assert of(node, "b").last_contact_ms is None
    assert of(node, "b").confirmed_ms is None
    node.now_ms += 40
    answer_heartbeat(node, "b")
    node.now_ms += 2
    assert (of(node, "b").last_contact_ms, of(node, "b").confirmed_ms) == (2, 42)
    assert of(node).quorum_silent_ms == 42


def test_a_change_of_membership_that_is_under_way():
    node = leader()
    assert not of(node).membership_pending
    second = membership_entry(2, 2, "abcd")
    node = leader(entries=[entry(1, 1), second], settled=False)
    status = of(node)
    assert (status.membership_pending, status.membership_index) == (True, 2)
    assert status.membership == Membership(frozenset("abcd"))
    for name in "bcd":
        acknowledge(node, name)
    assert not of(node).membership_pending


def test_a_transfer():
    node = leader()
    assert of(node).transfer_to is None
    node.propose(b"x")
    node.core.transfer_leadership("b", node.now_ms)
    assert (of(node).transferring, of(node).transfer_to) == (True, "b")


def test_a_disk_that_owes_an_answer():
    node = leader(slow_disk=True, settled=False)
    node.write_and_pump()
    assert of(node).disk_waits_ms is None
    node.propose(b"x")
    node.now_ms += 70
    assert of(node).disk_waits_ms == 70


def test_a_lease():
    node = leader(lease_reads=True, clock_drift=0)
    assert of(node).lease_ms is None
    answer_heartbeat(node, "b")
    assert of(node).lease_ms == ELECTION_MS - 2
    node.now_ms += ELECTION_MS
    assert of(node).lease_ms is None
    assert of(leader()).lease_ms is None


def test_reads_that_wait():
    node = leader()
    node.read()
    node.read()
    assert of(node).reads_pending == 2
    answer_heartbeat(node, "b")
    answer_heartbeat(node, "b")
    assert of(node).reads_pending == 0


def test_a_witness_is_named_as_one():
    node = member(entries=[begins_with(members("abc", witnesses="c"))])
    seen = {one.id: (one.voter, one.witness) for one in of(node).members}
    assert seen == {"a": (True, False), "b": (True, False), "c": (True, True)}


def test_both_majorities_of_a_joint_configuration():
    node = member(entries=[begins_with(members("ad", "e", "abc"))])
    status = of(node)
    assert status.joint
    assert status.membership_pending
    seen = {one.id: (one.voter, one.joining, one.leaving) for one in status.members}
    both, old, new = (True, False, False), (True, False, True), (True, True, False)
    assert seen == {"a": both, "b": old, "c": old, "d": new, "e": (False, False, False)}


def test_outside_of_one_nobody_joins_or_leaves():
    status = of(member(voters="abc"))
    assert not status.joint
    assert not any(one.joining or one.leaving for one in status.members)


def test_who_was_removed():
    node = member(entries=[begins_with(members("abc", removed="ed"))])
    assert of(node).removed == ("d", "e")
    assert [one.id for one in of(node).members] == ["a", "b", "c"]
    assert of(member(voters="abc")).removed == ()


@pytest.mark.parametrize("name", ["quorum_silent_ms", "lease_ms", "transfer_to"])
def test_a_follower_knows_nothing_of_what_is_a_leaders(name):
    node = member("b")
    node.receive(Heartbeat(1, "a", 0, 1))
    assert getattr(of(node), name) is None
    assert of(node, "c").state is None
    assert of(node).voted_for is None
