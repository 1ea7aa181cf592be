"""Paper §5.2 and §5.4.1, and Figure 2, "RequestVote RPC", "Followers" and "Candidates"."""

from __future__ import annotations

import pytest

from raftcore import HardState, Role
from raftcore.messages import (
    AppendEntries,
    Heartbeat,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from tests.core.cluster import (
    ELECTION_MS,
    HEARTBEAT_MS,
    Cluster,
    candidate,
    leader,
    log_of,
    member,
)


def test_a_server_begins_as_a_follower():
    # "When servers start up, they begin as followers" (§5.2).
    assert member().role is Role.FOLLOWER
    assert member(term=3, voted_for="a").role is Role.FOLLOWER


@pytest.mark.parametrize(
    "message", [AppendEntries(1, "b", 0, 0, (), 0, 1), Heartbeat(1, "b", 0, 1)], ids=repr
)
def test_a_follower_stays_one_while_a_leader_speaks(message):
    # "A server remains in follower state as long as it receives valid RPCs from a leader" (§5.2).
    node = member()
    for now_ms in range(0, 20 * ELECTION_MS, HEARTBEAT_MS):
        node.now_ms = now_ms
        node.core.handle_timer(now_ms)
        node.receive(message)
    assert node.role is Role.FOLLOWER
    assert node.core.leader == "b"


def test_a_follower_that_hears_nothing_campaigns():
    # "If election timeout elapses without receiving AppendEntries RPC from current leader or
    # granting vote to candidate: convert to candidate" (Figure 2); here by way of a pre-vote.
    node = member()
    node.tick(node.core.next_timer() - 1)
    assert node.role is Role.FOLLOWER
    node.tick()
    assert node.role is Role.PRE_CANDIDATE
    assert sorted(send.to for send in node.sent) == ["b", "c"]


def test_granting_a_vote_starts_the_election_timer_again():
    node = member()
    node.now_ms = node.core.next_timer() - 1
    node.receive(RequestVote(1, "b", 0, 0))
    assert node.core.next_timer() >= node.now_ms + ELECTION_MS


def test_refusing_a_vote_does_not_start_the_election_timer_again():
    # Nor does a mere later term: a server with a short log must not keep the others from standing.
    node = member(entries=log_of(1, 1), term=1)
    due_ms = node.core.next_timer()
    node.now_ms = due_ms - 1
    node.receive(RequestVote(2, "b", 1, 1))
    assert not node.take_one(RequestVoteResponse).granted
    assert node.core.next_timer() == due_ms


def test_a_candidate_enters_a_new_term_votes_for_itself_and_asks_all_the_others():
    # "On conversion to candidate, start election: increment currentTerm, vote for self, reset
    # election timer, send RequestVote RPCs to all other servers" (Figure 2).
    node = candidate(entries=log_of(1, 2, 2), term=4)
    assert node.core.current_term == 5
    assert node.disk.hard_state == HardState(5, "a")
    assert node.core._node.election_due_ms >= node.now_ms + ELECTION_MS
    for voter in "bc":
        assert node.take_one(RequestVote, voter) == RequestVote(5, "a", 3, 2)


@pytest.mark.parametrize(
    ("voters", "needed"), [("abc", 1), ("abcd", 2), ("abcde", 2), ("abcdefg", 3)]
)
def test_votes_from_a_majority_make_a_leader(voters, needed):
    # "If votes received from majority of servers: become leader" (Figure 2).
    node = candidate(voters=voters)
    for count, voter in enumerate(voters[1:], 1):
        assert node.role is (Role.CANDIDATE if count <= needed else Role.LEADER)
        node.receive(RequestVoteResponse(1, voter, granted=True))


def test_the_only_voter_elects_itself_at_once():
    node = member(voters="a")
    assert node.core.next_timer() == 0
    node.tick()
    assert node.role is Role.LEADER


def test_a_voter_counts_once_however_often_it_answers():
    node = candidate(voters="abcde")
    for _ in range(5):
        node.receive(RequestVoteResponse(1, "b", granted=True))
    assert node.role is Role.CANDIDATE


def test_votes_of_strangers_and_learners_do_not_count():
    node = candidate(voters="abc", learners="l")
    node.receive(RequestVoteResponse(1, "x", granted=True))
    node.receive(RequestVoteResponse(1, "l", granted=True))
    assert node.role is Role.CANDIDATE


def test_refusals_do_not_count():
    node = candidate()
    node.receive(RequestVoteResponse(1, "b", granted=False))
    node.receive(RequestVoteResponse(1, "c", granted=False))
    assert node.role is Role.CANDIDATE


def test_a_vote_of_an_earlier_election_does_not_count():
    node = candidate(term=3)
    node.receive(RequestVoteResponse(3, "b", granted=True))
    assert node.role is Role.CANDIDATE


def test_each_server_votes_once_per_term_first_come_first_served():
    # "Each server will vote for at most one candidate in a given term, on a first-come-first-served
    # basis" (§5.2).
    node = member()
    node.receive(RequestVote(1, "b", 0, 0))
    node.receive(RequestVote(1, "c", 0, 0))
    assert node.take(RequestVoteResponse, "b") == [RequestVoteResponse(1, "a", granted=True)]
    assert node.take(RequestVoteResponse, "c") == [RequestVoteResponse(1, "a", granted=False)]
    node.receive(RequestVote(2, "c", 0, 0))
    assert node.take_one(RequestVoteResponse, "c").granted


def test_a_repeated_request_gets_the_same_vote():
    node = member()
    for _ in range(2):
        node.receive(RequestVote(1, "b", 0, 0))
        assert node.take_one(RequestVoteResponse).granted
    assert len(node.persists) == 1


def test_whom_it_follows_in_a_term_a_server_has_as_good_as_voted_for():
    node = member()
    node.receive(Heartbeat(1, "b", 0, 1))
    node.take()
    node.now_ms += 2 * ELECTION_MS
    node.receive(RequestVote(1, "c", 0, 0))
    assert not node.take_one(RequestVoteResponse).granted


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"),
    [
        (3, 2, True),  # the same log
        (4, 2, True),  # longer
        (2, 2, False),  # shorter
        (1, 3, True),  # a later term wins, however short
        (99, 1, False),  # an earlier term loses, however long
        (0, 0, False),
    ],
)
@pytest.mark.parametrize("kind", [RequestVote, PreVote])
def test_only_an_up_to_date_log_gets_a_vote(kind, last_index, last_term, granted):
    # "If the logs have last entries with different terms, then the log with the later term is more
    # up-to-date.  If the logs end with the same term, then whichever log is longer" (§5.4.1).
    node = member(entries=log_of(1, 2, 2), term=3)
    node.receive(kind(4, "b", last_index, last_term))
    assert node.take()[0].granted is granted


@pytest.mark.parametrize(
    "message", [AppendEntries(1, "b", 0, 0, (), 0, 1), Heartbeat(1, "b", 0, 1)], ids=repr
)
def test_a_candidate_yields_to_a_leader_of_its_own_term(message):
    # "If the leader's term is at least as large as the candidate's current term, then the candidate
    # recognizes the leader as legitimate and returns to follower state" (§5.2).
    node = candidate()
    node.receive(message)
    assert (node.role, node.core.leader) == (Role.FOLLOWER, "b")
    node.receive(RequestVoteResponse(1, "c", granted=True))
    assert node.role is Role.FOLLOWER


def test_a_candidate_that_wins_nothing_starts_again():
    # "If election timeout elapses: start new election" (Figure 2).
    node = candidate()
    due_ms = node.core._node.election_due_ms
    while node.now_ms < due_ms:
        node.tick()
    assert node.role is Role.PRE_CANDIDATE
    node.receive(PreVoteResponse(2, "c", granted=True))
    assert node.role is Role.CANDIDATE
    assert node.core.current_term == 2


def test_timeouts_are_random_and_drawn_anew():
    # "Election timeouts are chosen randomly from a fixed interval" (§5.2).
    node = member()
    drawn = set()
    for sequence in range(50):
        node.receive(Heartbeat(1, "b", 0, sequence))
        drawn.add(node.core.next_timer() - node.now_ms)
    assert len(drawn) > 30
    assert all(ELECTION_MS <= timeout_ms < 2 * ELECTION_MS for timeout_ms in drawn)


def test_requests_for_votes_are_repeated_to_those_who_have_not_answered():
    # "Servers retry RPCs if they do not receive a response in a timely manner" (§5.1).
    node = candidate(voters="abcde")
    node.receive(RequestVoteResponse(1, "b", granted=False))
    node.take()
    node.tick()
    assert node.now_ms < node.core._node.election_due_ms
    assert [send.to for send in node.sent] == ["c", "d", "e"]
    assert node.take()[0] == RequestVote(1, "a", 0, 0)


def test_a_new_leader_speaks_to_everybody_at_once():
    # "Upon election: send initial empty AppendEntries RPCs (heartbeat) to each server" (Figure 2).
    node = leader(settled=False)
    for voter in "bc":
        assert node.take_one(Heartbeat, voter).term == 1
        assert node.take_one(AppendEntries, voter).leader == "a"


def test_a_leader_repeats_heartbeats_while_idle():
    # "Repeat during idle periods to prevent election timeouts" (Figure 2).
    node = leader()
    started_ms = node.now_ms
    for count in range(1, 4):
        node.tick()
        assert node.now_ms == started_ms + count * HEARTBEAT_MS
        assert len(node.take(Heartbeat)) == 2


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_a_cluster_elects_one_leader_and_another_when_that_one_is_gone(names, seed):
    cluster = Cluster(names, seed=seed)
    first = cluster.elect()
    assert cluster.leaders == [first]
    if len(names) > 2:
        cluster.cut = {first.name}
        second = cluster.elect()
        assert second.core.current_term > first.core.current_term
