"""Inputs that hardly ever come, and what may not come of them."""

from __future__ import annotations

import pytest

from raftcore import InvariantViolation, Role, TransferRefused
from raftcore.messages import HeartbeatResponse
from raftcore.protocol.leader import become_leader
from raftcore.state import HEARTBEATS_REMEMBERED_MAX
from tests.core.cluster import answer_heartbeat, leader, member


def test_an_answer_to_a_heartbeat_long_forgotten_is_no_contact():
    # When it was sent nobody knows any more, so it proves nothing about lately.
    node = leader(voters="abc")
    for _ in range(HEARTBEATS_REMEMBERED_MAX + 5):
        node.core._node.leading.grace_until_ms = node.now_ms + 10_000
        answer_heartbeat(node, "b")
        node.tick()
    progress = node.core._node.leading.progress["c"]
    before = progress.contact_ms
    node.receive(HeartbeatResponse(node.core.current_term, "c", 1))
    assert progress.contact_ms == before


def test_an_answer_to_a_heartbeat_never_sent_is_no_contact():
    node = leader(voters="abc")
    progress = node.core._node.leading.progress["c"]
    before = progress.contact_ms
    node.receive(HeartbeatResponse(node.core.current_term, "c", 1000))
    assert progress.contact_ms == before


def test_asking_twice_for_one_transfer_does_not_prolong_it():
    node = leader(voters="abc")
    node.core.transfer_leadership("b", node.now_ms)
    deadline_ms = node.core._node.leading.transfer.deadline_ms
    node.core.transfer_leadership("b", node.now_ms + 100)
    assert node.core._node.leading.transfer.deadline_ms == deadline_ms
    with pytest.raises(TransferRefused):
        node.core.transfer_leadership("a", node.now_ms)


def test_nobody_wins_an_election_it_is_not_standing_for():
    node = member()
    with pytest.raises(InvariantViolation, match="not standing"):
        become_leader(node.core._node)
    assert node.role is Role.FOLLOWER


def test_a_term_never_falls():
    node = member(term=5)
    with pytest.raises(InvariantViolation, match="cannot fall"):
        node.core._node.become_follower(4, None)
