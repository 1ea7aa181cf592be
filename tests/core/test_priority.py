"""Leadership goes to whom it is wished for, where several could have it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from raftcore import Config, Role
from raftcore.messages import (
    Heartbeat,
    HeartbeatResponse,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from raftcore.protocol.priority import STANDS_BACK_TIMEOUTS
from tests.core.changing import ChangingCluster
from tests.core.cluster import (
    ELECTION_MS,
    HEARTBEAT_MS,
    Cluster,
    Member,
    acknowledge,
    leader,
    member,
)


def answer(node: Member, **priorities: int) -> None:
    """Answer the newest heartbeat, each with its priority."""
    term, sequence = node.core.current_term, node.core._node.leading.sequence
    for follower, priority in priorities.items():
        node.receive(HeartbeatResponse(term, follower, sequence, priority))


def lead_for(node: Member, duration_ms: int, **priorities: int) -> None:
    end_ms = node.now_ms + duration_ms
    while node.now_ms < end_ms:
        answer(node, **priorities)
        node.tick()


def cluster_of(seed: int = 1, **priorities: int) -> Cluster:
    """Members that differ in their priorities."""
    cluster = ChangingCluster("abc", seed=seed)
    for name, priority in priorities.items():
        cluster.members[name] = member(name, "abc", seed=seed, priority=priority)
    return cluster


def test_a_heartbeat_tells_how_many_others_come_first():
    node = leader("a", "abcd")
    lead_for(node, HEARTBEAT_MS, b=1, c=5, d=9)
    node.take()
    answer(node, b=1, c=5, d=9)
    node.tick()
    beats = {send.to: send.message.ahead for send in node.sent}
    assert beats == {"b": 2, "c": 1, "d": 0}


def test_who_does_not_answer_comes_before_nobody():
    node = leader("a", "abcd")
    lead_for(node, 2 * ELECTION_MS, b=1, c=5, d=9)
    lead_for(node, 2 * ELECTION_MS, b=1, c=5)
    node.take()
    node.tick()
    beats = {send.to: send.message.ahead for send in node.sent}
    assert beats == {"b": 1, "c": 0, "d": 0}


def test_a_follower_lets_others_go_first():
    node = member("b")
    node.receive(Heartbeat(1, "a", 0, 1, ahead=1))
    due_ms = node.core.next_timer()
    assert 2 * ELECTION_MS <= due_ms < 3 * ELECTION_MS
    node.receive(Heartbeat(1, "a", 0, 2, ahead=0))
    assert ELECTION_MS <= node.core.next_timer() < 2 * ELECTION_MS


def test_nobody_waits_for_ever():
    node = member("b")
    node.receive(Heartbeat(1, "a", 0, 1, ahead=1000))
    assert node.core.next_timer() < 4 * ELECTION_MS


def test_a_follower_that_let_others_go_first_does_so_once():
    node = member("b")
    node.receive(Heartbeat(1, "a", 0, 1, ahead=2))
    node.tick()
    assert node.role is Role.PRE_CANDIDATE
    assert node.core._node.election_due_ms < node.now_ms + 2 * ELECTION_MS


@pytest.mark.parametrize("seed", range(10))
def test_the_most_preferred_of_those_left_is_elected(seed):
    cluster = cluster_of(seed, a=1, b=3, c=2)
    cluster.run(lambda: [node.name for node in cluster.leaders] == ["b"])
    cluster.run_for(ELECTION_MS)
    cluster.cut = {"b"}
    cluster.run(lambda: any(cluster[name].role is Role.LEADER for name in "ac"))
    assert cluster["c"].role is Role.LEADER


def test_without_a_wish_to_lead_a_node_lets_others_stand():
    node = member("b", priority=0)
    for _ in range(STANDS_BACK_TIMEOUTS):
        node.tick()
    assert node.now_ms >= STANDS_BACK_TIMEOUTS * ELECTION_MS
    assert (node.role, node.core.current_term, node.sent) == (Role.FOLLOWER, 0, [])


def test_but_not_for_ever():
    node = member("b", priority=0)
    for _ in range(STANDS_BACK_TIMEOUTS + 1):
        node.tick()
    assert node.role is Role.PRE_CANDIDATE


def test_each_leader_is_a_reason_to_wait_again():
    node = member("b", priority=0)
    for sequence in range(10):
        node.receive(Heartbeat(1, "a", 0, sequence))
        for _ in range(STANDS_BACK_TIMEOUTS):
            node.tick()
        assert node.role is Role.FOLLOWER


def test_having_led_is_one_too():
    node = member("b", priority=0)
    for _ in range(STANDS_BACK_TIMEOUTS + 1):
        node.tick()
    node.receive(PreVoteResponse(1, "a", granted=True))
    node.receive(RequestVoteResponse(1, "a", granted=True))
    assert node.role is Role.LEADER
    node.receive(HeartbeatResponse(2, "c", 1))
    for _ in range(STANDS_BACK_TIMEOUTS):
        node.tick()
    assert node.role is Role.FOLLOWER


@pytest.mark.parametrize("seed", range(5))
def test_one_whose_log_bars_all_others_leads_until_they_have_it(seed):
    """Its vote is needed, and nobody else can win it: standing back for ever would be an outage
    after a single failure."""
    cluster = cluster_of(seed, a=2, b=0, c=1)
    cluster.run(lambda: [node.name for node in cluster.leaders] == ["a"])
    cluster.cut = {"c"}
    cluster["a"].propose(b"only b has it beside the leader")
    cluster.settle()
    committed = cluster["a"].core.commit_index
    cluster.cut = {"a"}
    cluster.run(lambda: cluster["b"].role is Role.LEADER)
    cluster.run(lambda: cluster["c"].role is Role.LEADER)
    assert cluster["c"].core.commit_index > committed


def test_nobody_wishes_to_lead_and_somebody_does():
    cluster = cluster_of(a=0, b=0, c=0)
    cluster.elect()


def test_it_forgets_a_leader_that_fell_silent_all_the_same():
    node = member("b", priority=0)
    node.receive(Heartbeat(1, "a", 0, 1))
    assert node.core.leader == "a"
    node.tick()
    assert node.core.leader is None


def test_the_only_voter_leads_without_a_wish():
    assert leader("a", "a", priority=0).role is Role.LEADER


def test_whoever_is_asked_to_lead_does():
    node = member("b", priority=0)
    node.receive(TimeoutNow(1, "a"))
    assert node.role is Role.CANDIDATE


def test_a_leader_hands_over_to_one_that_should_rather_lead():
    node = leader("a", priority=2)
    lead_for(node, 5 * ELECTION_MS, b=2, c=3)
    assert node.take(TimeoutNow, "b") == []
    assert node.take(TimeoutNow, "c") != []


def test_not_at_once():
    # Else a node that comes and goes would take the leadership with it each time.
    node = leader("a", priority=2)
    lead_for(node, 3 * ELECTION_MS, b=2, c=3)
    assert node.take(TimeoutNow) == []


def test_not_to_one_that_lacks_entries():
    node = leader("a", priority=2)
    node.propose(b"x")
    acknowledge(node, "b")
    lead_for(node, 6 * ELECTION_MS, b=2, c=3)
    assert node.take(TimeoutNow) == []
    assert not node.core.status(node.now_ms).transferring


def test_not_to_one_that_is_silent():
    node = leader("a", priority=2)
    lead_for(node, ELECTION_MS, b=2, c=3)
    lead_for(node, 6 * ELECTION_MS, b=2)
    assert node.take(TimeoutNow) == []


def test_an_offer_that_comes_to_nothing_is_repeated_ever_more_seldom():
    node = leader("a", priority=2)
    offers = []
    transferring = False
    while node.now_ms < 70 * ELECTION_MS:
        answer(node, b=2, c=3)
        node.tick()
        before, transferring = transferring, node.core.status(node.now_ms).transferring
        if transferring and not before:
            offers.append(node.now_ms)
    gaps = [later - earlier for earlier, later in pairwise(offers)]
    assert len(gaps) >= 2
    assert all(later > 1.5 * earlier for earlier, later in pairwise(gaps))


def test_nor_does_a_term_that_it_ends_make_it_more_frequent():
    """The one it is offered to may be reached by nobody else: it takes the term and does not win."""

    def offered_after(limit: int) -> int:
        begin_ms = node.now_ms
        while not node.take(TimeoutNow, "c"):
            assert node.now_ms < begin_ms + limit * ELECTION_MS
            lead_for(node, HEARTBEAT_MS, b=2, c=3)
        return (node.now_ms - begin_ms) // ELECTION_MS

    def elected_again() -> None:
        while node.role is not Role.PRE_CANDIDATE:
            node.tick()
        term = node.core.current_term + 1
        node.receive(PreVoteResponse(term, "b", granted=True))
        node.receive(RequestVoteResponse(term, "b", granted=True))
        for voter in "bc":
            acknowledge(node, voter)

    node = leader("a", priority=2)
    assert offered_after(6) == 4
    for expected in (8, 16):
        last = (node.core.last_index, node.core.current_term)
        node.receive(RequestVote(node.core.current_term + 1, "c", *last, transfer=True))
        assert node.role is Role.FOLLOWER
        elected_again()
        assert offered_after(3 * expected) == expected
    # Once it has led, it is trusted again.
    last = (node.core.last_index, node.core.current_term)
    node.receive(RequestVote(node.core.current_term + 1, "c", *last, transfer=True))
    node.receive(Heartbeat(node.core.current_term, "c", 0, 1))
    elected_again()
    assert offered_after(6) == 4


def test_leadership_comes_to_rest_where_it_is_wished_for():
    cluster = cluster_of(a=1, b=2, c=3)
    cluster.elect()
    cluster.run(lambda: [node.name for node in cluster.leaders] == ["c"])
    term = cluster["c"].core.current_term
    cluster.run_for(60 * ELECTION_MS)
    assert [node.name for node in cluster.leaders] == ["c"]
    assert cluster["c"].core.current_term == term


def test_it_is_no_condition_for_being_elected():
    node = member("b", priority=1)
    node.receive(Heartbeat(1, "a", 0, 1, ahead=2))
    node.tick()
    node.receive(PreVoteResponse(2, "c", granted=True))
    assert node.role is Role.CANDIDATE


def test_a_negative_priority_is_refused():
    with pytest.raises(ValueError, match="priority"):
        Config("a", priority=-1)
