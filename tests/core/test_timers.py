"""Time comes from outside, late if need be."""

from __future__ import annotations

from raftcore import Role
from raftcore.messages import AppendEntries, Heartbeat
from tests.core.cluster import (
    ELECTION_MS,
    HEARTBEAT_MS,
    Cluster,
    acknowledge,
    answer_heartbeat,
    candidate,
    leader,
    member,
)


def test_the_timer_may_be_called_at_any_time():
    node = member()
    due_ms = node.core.next_timer()
    for now_ms in range(0, due_ms, 7):
        node.core.handle_timer(now_ms)
    assert node.core.next_timer() == due_ms, "drawn once, not at every call"
    assert node.core.take_effects() == []


def test_a_node_that_was_asleep_looks_for_a_leader_before_it_campaigns():
    # The silence was its own: heartbeats may lie unread.
    node = member()
    due_ms = node.core.next_timer()
    node.tick(due_ms + 5 * ELECTION_MS)
    assert node.role is Role.FOLLOWER
    again_ms = node.core.next_timer()
    assert ELECTION_MS <= again_ms - node.now_ms < 2 * ELECTION_MS, "with a new random timeout"
    for now_ms in range(node.now_ms, again_ms):
        node.core.handle_timer(now_ms)
    assert node.role is Role.FOLLOWER, "many calls after a stall are not many timeouts"


def test_a_node_that_is_always_late_campaigns_all_the_same():
    node = member()
    node.tick(node.core.next_timer() + ELECTION_MS)
    node.tick(node.core.next_timer() + ELECTION_MS)
    assert node.role is Role.PRE_CANDIDATE


def test_a_little_late_is_not_asleep():
    node = member()
    node.tick(node.core.next_timer() + HEARTBEAT_MS - 1)
    assert node.role is Role.PRE_CANDIDATE


def test_a_message_from_the_leader_is_contact_however_late_the_timer():
    node = member()
    due_ms = node.core.next_timer()
    node.now_ms = due_ms + 10
    node.receive(Heartbeat(1, "b", 0, 1))
    node.tick(due_ms + 20)
    assert node.role is Role.FOLLOWER


def test_a_leader_that_was_asleep_asks_before_it_gives_up():
    node = leader()
    answer_heartbeat(node, "b")
    node.tick(node.now_ms + 10 * ELECTION_MS)
    assert node.role is Role.LEADER
    assert len(node.take(Heartbeat)) == 2
    woke_ms = node.now_ms
    while node.role is Role.LEADER:
        node.tick()
    assert node.now_ms - woke_ms <= ELECTION_MS + HEARTBEAT_MS


def test_a_leader_that_is_always_late_gives_up_all_the_same():
    node = leader()
    for _ in range(3):
        node.tick(node.core.next_timer() + ELECTION_MS)
    assert node.role is Role.FOLLOWER


def test_time_that_runs_backwards_is_ignored():
    node = leader("a", "a")
    node.now_ms = 5000
    node.propose(b"x")
    node.now_ms = 10
    node.propose(b"y")
    assert node.applied[-1].time_ms == node.applied[-2].time_ms


def test_only_what_is_due_makes_a_node_wake_up():
    alone = leader("a", "a")
    assert alone.core.next_timer() is None
    node = leader()
    assert node.core.next_timer() == node.now_ms + HEARTBEAT_MS
    node.core.transfer_leadership("b", node.now_ms + 1)
    assert node.core.next_timer() == node.now_ms + HEARTBEAT_MS
    assert candidate().core.next_timer() <= candidate().now_ms + HEARTBEAT_MS


def test_the_same_seed_gives_the_same_run():
    def run(seed: int) -> list[object]:
        cluster = Cluster("abc", seed=seed)
        seen: list[object] = []
        cluster.lose = lambda sender, send: bool(seen.append((cluster.now_ms, sender, send)))
        node = cluster.elect()
        node.propose(b"x")
        cluster.run_for(1000)
        return seen

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_status_is_for_people():
    node = leader()
    answer_heartbeat(node, "b")
    acknowledge(node, "c")
    node.now_ms += 40
    status = node.core.status(node.now_ms)
    assert (status.node_id, status.role, status.term, status.leader) == ("a", Role.LEADER, 1, "a")
    assert (status.commit_index, status.applied_index, status.last_index) == (1, 1, 1)
    assert [(m.id, m.voter, m.match_index, m.last_contact_ms) for m in status.members] == [
        ("a", True, 1, 0),
        ("b", True, 1, 40),
        ("c", True, 1, 40),
    ]
    follower = member("b")
    assert follower.core.status(0).members[0].last_contact_ms is None
    follower.receive(AppendEntries(1, "a", 0, 0, (), 0, 1))
    assert [m.last_contact_ms for m in follower.core.status(25).members] == [25, 0, None]


def test_the_driver_is_told_of_role_term_and_leader_once_per_change():
    node = leader()
    assert [change.role for change in node.roles] == [
        Role.PRE_CANDIDATE,
        Role.CANDIDATE,
        Role.LEADER,
    ]
    assert (node.roles[-1].term, node.roles[-1].leader) == (1, "a")
    node.receive(Heartbeat(4, "c", 0, 1))
    node.receive(Heartbeat(4, "c", 0, 2))
    assert len(node.roles) == 4
    assert (node.roles[-1].role, node.roles[-1].leader) == (Role.FOLLOWER, "c")
