"""What the thesis adds: stickiness §4.2.3, check quorum §6.2, pre-vote §9.6; and cluster time."""

from __future__ import annotations

import pytest

from raftcore import HardState, Role
from raftcore.messages import (
    AppendEntries,
    Heartbeat,
    HeartbeatResponse,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from tests.core.cluster import (
    ELECTION_MS,
    HEARTBEAT_MS,
    Cluster,
    acknowledge,
    answer_heartbeat,
    entry,
    leader,
    log_of,
    member,
)

# ---------------------------------------------------------------- pre-vote


def test_a_pre_candidate_keeps_its_term_and_its_vote():
    node = member(entries=log_of(1, 2), term=3)
    node.tick()
    assert node.role is Role.PRE_CANDIDATE
    assert node.core.current_term == 3
    assert node.persists == []
    assert node.take_one(PreVote, "b") == PreVote(4, "a", 2, 2)


def test_a_pre_vote_from_a_majority_starts_the_election():
    node = member(voters="abcde")
    node.tick()
    node.receive(PreVoteResponse(1, "b", granted=True))
    node.receive(PreVoteResponse(1, "b", granted=True))
    assert node.role is Role.PRE_CANDIDATE
    node.receive(PreVoteResponse(1, "c", granted=True))
    assert node.role is Role.CANDIDATE
    assert node.disk.hard_state == HardState(1, "a")


def test_a_pre_vote_of_another_term_does_not_count():
    node = member(term=3)
    node.tick()
    for term in (3, 5):
        node.receive(PreVoteResponse(term, "b", granted=True))
    assert node.role is Role.PRE_CANDIDATE


@pytest.mark.parametrize("granted", [True, False])
def test_a_late_pre_vote_does_not_move_a_leader(granted):
    node = leader()
    node.receive(PreVoteResponse(1 + granted, "b", granted=granted and True))
    assert node.role is Role.LEADER or not granted


def test_a_refusal_carries_the_refusers_term_and_the_asker_learns_it():
    node = member(term=7)
    node.receive(PreVote(4, "b", 0, 0))
    refusal = node.take_one(PreVoteResponse, "b")
    assert refusal == PreVoteResponse(7, "a", granted=False)
    asker = member("b", term=3)
    asker.tick()
    asker.receive(refusal)
    assert (asker.role, asker.core.current_term) == (Role.FOLLOWER, 7)


def test_who_hears_a_leader_refuses_a_pre_vote():
    node = member()
    node.receive(Heartbeat(1, "b", 0, 1))
    node.take()
    node.now_ms += ELECTION_MS - 1
    node.receive(PreVote(2, "c", 0, 0))
    assert not node.take_one(PreVoteResponse).granted
    node.now_ms += 1
    node.receive(PreVote(2, "c", 0, 0))
    assert node.take_one(PreVoteResponse).granted


def test_a_pre_vote_is_no_contact_with_a_leader():
    node = member()
    node.receive(Heartbeat(1, "b", 0, 1))
    due_ms = node.core.next_timer()
    node.take()
    node.now_ms += ELECTION_MS
    node.receive(PreVote(2, "c", 0, 0))
    node.receive(PreVote(2, "c", 0, 0))
    assert all(answer.granted for answer in node.take(PreVoteResponse))
    assert node.core.next_timer() == due_ms


def test_a_leader_grants_no_pre_vote():
    node = leader()
    node.receive(PreVote(9, "b", 9, 9))
    assert not node.take_one(PreVoteResponse).granted
    assert node.role is Role.LEADER


def test_a_leader_that_gave_up_may_stand_again_at_once():
    # Having heard it lately is no reason to refuse: it leads no more.
    node = member()
    node.receive(Heartbeat(1, "b", 0, 1))
    node.take()
    node.receive(PreVote(2, "b", 0, 0))
    assert node.take_one(PreVoteResponse).granted


def test_a_node_that_was_cut_off_comes_back_without_disturbing_anybody():
    cluster = Cluster("abc")
    node = cluster.elect()
    (away, _) = (m for m in cluster.members.values() if m is not node)
    cluster.cut = {away.name}
    cluster.run_for(20 * ELECTION_MS)
    assert away.core.current_term == node.core.current_term
    cluster.cut = set()
    cluster.run_for(3 * ELECTION_MS)
    assert cluster.leaders == [node]
    assert away.core.leader == node.name


def test_a_node_with_a_later_term_is_taken_back():
    # Refused by everybody who hears a leader, and unable to follow it: the leader has to learn of
    # the term, and all meet in a later one.
    cluster = Cluster("abc")
    cluster.elect()
    away = cluster["c"]
    cluster.cut = {"c"}
    cluster.run(lambda: away.role is not Role.LEADER)
    away.core._node.become_follower(away.core.current_term + 5, None)
    cluster.run_for(5 * ELECTION_MS)
    cluster.cut = set()
    node = cluster.elect()
    assert node.core.current_term >= 6
    cluster.run(lambda: len({m.core.commit_index for m in cluster.members.values()}) == 1)


# ---------------------------------------------------------------- stickiness


def test_who_hears_a_leader_does_not_even_enter_a_candidates_term():
    # "If a server receives a RequestVote request within the minimum election timeout of hearing
    # from a current leader, it does not update its term or grant its vote" (§4.2.3).
    node = member()
    node.receive(Heartbeat(1, "b", 0, 1))
    node.take()
    node.now_ms += ELECTION_MS - 1
    node.receive(RequestVote(2, "c", 9, 9))
    assert (node.core.current_term, node.take()) == (1, [])
    node.now_ms += 1
    node.receive(RequestVote(2, "c", 9, 9))
    assert node.take_one(RequestVoteResponse).granted


def test_a_leader_in_office_ignores_candidates():
    node = leader()
    node.receive(RequestVote(2, "c", 9, 9))
    assert (node.role, node.core.current_term) == (Role.LEADER, 1)


# ---------------------------------------------------------------- check quorum


def test_a_leader_without_answers_from_a_majority_steps_down():
    node = leader(voters="abcde")
    elected_ms = node.now_ms
    while node.role is Role.LEADER:
        answer_heartbeat(node, "b")
        node.tick()
    assert elected_ms + ELECTION_MS <= node.now_ms <= elected_ms + ELECTION_MS + HEARTBEAT_MS
    assert node.core.leader is None
    assert node.core.current_term == 1
    assert node.core.next_timer() >= node.now_ms + ELECTION_MS


def test_a_leader_with_answers_from_a_majority_stays():
    node = leader(voters="abcde")
    for _ in range(50):
        answer_heartbeat(node, "b")
        answer_heartbeat(node, "c")
        node.tick()
    assert node.role is Role.LEADER


def test_learners_do_not_keep_a_leader_in_office():
    node = leader(voters="abc", learners="l")
    while node.role is Role.LEADER:
        answer_heartbeat(node, "l")
        node.tick()
        assert node.now_ms < 10 * ELECTION_MS


def test_an_answer_proves_contact_as_of_the_time_of_its_heartbeat():
    # An answer may be under way for long; neither it nor an acknowledgement says anything of now.
    node = leader()
    for _ in range(3):
        node.tick()
    while node.role is Role.LEADER:
        node.receive(HeartbeatResponse(1, "b", 2))
        acknowledge(node, "b")
        node.tick()
        assert node.now_ms < 10 * ELECTION_MS


def test_a_leader_alone_needs_nobody():
    node = leader("a", "a")
    node.now_ms += 100 * ELECTION_MS
    node.core.handle_timer(node.now_ms)
    assert node.role is Role.LEADER
    assert node.core.next_timer() is None


def test_the_other_side_of_a_half_broken_network_gets_a_leader():
    # The leader hears nobody, but everybody hears its heartbeats: pre-vote alone would keep it in
    # office for ever.
    cluster = Cluster("abc")
    old = cluster.elect()
    cluster.lose = lambda sender, send: send.to == old.name
    cluster.run(lambda: any(m is not old for m in cluster.leaders))


# ---------------------------------------------------------------- cluster time


def test_entries_are_stamped_with_time_that_passes():
    node = leader("a", "a")
    node.now_ms += 5000
    node.propose(b"x")
    node.now_ms += 300
    node.propose(b"y")
    first, second, third = node.applied
    assert (second.time_ms - first.time_ms, third.time_ms - second.time_ms) == (5000, 300)


def test_a_new_leader_goes_on_from_the_last_stamp():
    node = member("a", "a", entries=[entry(1, 1)], now_ms=77)
    stamped = [*node.entries(), entry(2, 1)]
    stamped[1] = type(stamped[1])(2, 1, stamped[1].kind, 9000, b"")
    node = member("a", "a", entries=stamped, now_ms=77)
    node.tick(77)
    node.now_ms = 177
    node.propose(b"x")
    assert [e.time_ms for e in node.entries()] == [0, 9000, 9000, 9100]


def test_followers_keep_an_estimate_that_never_falls():
    node = member()
    at_9000 = type(entry(1, 1))(1, 1, entry(1, 1).kind, 9000, b"")
    node.receive(AppendEntries(1, "b", 0, 0, (at_9000,), 0, 1))
    assert node.core.cluster_time_ms(node.now_ms + 40) == 9040
    node.now_ms += 100
    node.receive(Heartbeat(1, "b", 0, 1, time_ms=9020))
    assert node.core.cluster_time_ms(node.now_ms) == 9100
    assert node.core.cluster_time_ms(0) == 9100, "a driver's clock that falls is not believed"


def test_a_node_that_was_down_learns_the_time_from_a_heartbeat():
    # Nothing may have been written meanwhile, and what it proposes must not be expired already.
    node = leader()
    node.now_ms += 1_000_000
    node.tick(node.now_ms)
    late = member("b", entries=node.entries(), term=1)
    late.receive(node.take_one(Heartbeat, "b"))
    assert late.core.cluster_time_ms(late.now_ms) == node.core.cluster_time_ms(node.now_ms)
