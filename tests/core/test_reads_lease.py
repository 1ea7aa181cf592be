"""Reads by lease: "Using clocks to reduce messaging for read-only queries", thesis §6.4.1."""

from __future__ import annotations

import pytest

from raftcore import Config, Demote, HardState, ReadReady, Remove, Role
from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    PreVote,
    PreVoteResponse,
    ReadIndex,
    ReadIndexResponse,
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
    log_of,
    member,
    membership_entry,
    start,
)

DRIFT = 0.25
LEASE_MS = int((ELECTION_MS - 1) / 1.25) - 1


def lessee(**options):
    """A leader whose heartbeat of time 0 was answered by a majority."""
    node = leader(lease_reads=True, clock_drift=DRIFT, **options)
    answer_heartbeat(node, "b")
    node.take()
    return node


def test_leases_are_off_unless_asked_for():
    assert not Config("a").lease_reads
    node = leader()
    answer_heartbeat(node, "b")
    node.read()
    assert node.reads == {}


def test_within_the_lease_a_read_needs_no_messages():
    # "The leader would use the normal heartbeat mechanism to maintain a lease ... reply to read-only
    # queries without communication."
    node = lessee()
    read = node.read()
    assert node.reads == {read: ReadReady(read, 1)}
    assert node.take(Heartbeat) == []


def test_a_lease_begins_when_the_heartbeats_were_sent():
    # "Once the leader's heartbeats were acknowledged by a majority, the leader would extend its lease
    # to start + election timeout / clock drift bound, since the followers should not time out before
    # then."  `start` is the time of sending, however long the answers take.
    node = leader(lease_reads=True, clock_drift=DRIFT)
    node.now_ms += LEASE_MS
    answer_heartbeat(node, "b")
    node.take()
    node.read()
    assert node.reads == {}
    assert len(node.take(Heartbeat, "b")) == 1, "a round, since the lease had ended when it began"


def test_a_lease_ends_by_the_drift_earlier_than_the_promise():
    node = lessee()
    node.now_ms += LEASE_MS - 1
    read = node.read()
    assert read in node.reads
    node.now_ms += 1
    read = node.read()
    assert read not in node.reads
    assert LEASE_MS * 1.25 < ELECTION_MS


@pytest.mark.parametrize("drift", [-0.1, 1, 7])
def test_a_drift_that_cannot_be_is_refused(drift):
    with pytest.raises(ValueError, match="clock_drift"):
        Config("a", clock_drift=drift)


def test_a_minority_gives_no_lease():
    node = leader(voters="abcde", lease_reads=True)
    answer_heartbeat(node, "b")
    node.read()
    assert node.reads == {}


def test_being_elected_gives_no_lease():
    # Who votes promises nothing: only who follows does.
    node = leader(lease_reads=True)
    node.read()
    assert node.reads == {}


def test_a_lease_does_not_replace_an_entry_of_its_own_term():
    node = leader(entries=log_of(1, 1), settled=False, lease_reads=True)
    answer_heartbeat(node, "b")
    read = node.read()
    assert node.reads == {}
    acknowledge(node, "b")
    assert node.reads == {read: ReadReady(read, 3)}


def test_followers_are_answered_by_lease_too():
    node = lessee()
    node.receive(ReadIndex(1, "c", 5))
    assert node.take_one(ReadIndexResponse, "c") == ReadIndexResponse(1, "a", 5, True, 1)
    assert node.take(Heartbeat) == []


def test_a_lease_that_comes_back_answers_what_a_lost_round_left_waiting():
    node = leader(lease_reads=True)
    first = node.read()
    node.take()
    node.tick()
    second = node.read()
    answer_heartbeat(node, "b")
    assert sorted(node.reads) == [first, second]


def test_a_transfer_ends_the_lease_for_the_rest_of_the_term():
    # The target's election asks nobody to have lost the leader; its TimeoutNow may be late.
    node = lessee()
    node.core.transfer_leadership("b", node.now_ms)
    node.pump()
    assert len(node.take(TimeoutNow)) == 1
    node.read()
    assert node.reads == {}
    while node.core.status(node.now_ms).transferring:
        node.tick()
        answer_heartbeat(node, "c")
    node.take()
    node.reads.clear()
    node.read()
    assert node.reads == {}
    assert len(node.take(Heartbeat, "b")) == 1


def test_a_cluster_of_one_has_its_lease_from_nobody():
    node = leader(voters="a", lease_reads=True)
    read = node.read()
    assert read in node.reads


# ---------------------------------------------------------------- the voters' promise


def follower(**options):
    node = member("b", entries=log_of(1), lease_reads=True, **options)
    node.receive(Heartbeat(1, "a", 0, 1))
    node.take()
    return node


def test_a_voter_that_hears_of_a_later_term_keeps_its_promise():
    # An answer to what it asked long ago brings a later term, and with it no leader; the leader it
    # promised to stay with may still be serving reads.
    node = follower()
    node.receive(RequestVoteResponse(5, "c", granted=False))
    assert (node.core.current_term, node.core.leader) == (5, None)
    node.now_ms = ELECTION_MS - 1
    node.receive(RequestVote(5, "c", 9, 9))
    assert node.disk.hard_state == HardState(5, None)
    node.now_ms = ELECTION_MS
    node.receive(RequestVote(5, "c", 9, 9))
    assert node.disk.hard_state == HardState(5, "c")


def test_a_voter_keeps_its_promise_over_a_restart():
    node = member("b", entries=log_of(1), lease_reads=True, now_ms=70)
    node.now_ms = 70 + ELECTION_MS - 1
    node.receive(RequestVote(2, "c", 9, 9))
    node.receive(PreVote(2, "c", 9, 9))
    assert node.core.current_term == 1
    assert not node.take_one(PreVoteResponse).granted
    node.now_ms += 1
    node.receive(RequestVote(2, "c", 9, 9))
    assert node.disk.hard_state == HardState(2, "c")


def test_a_new_cluster_has_promised_nothing():
    node = member("b", lease_reads=True)
    node.receive(RequestVote(1, "c", 0, 0))
    assert node.take_one(RequestVoteResponse).granted


def test_without_leases_a_restart_promises_nothing():
    node = member("b", entries=log_of(1))
    node.receive(RequestVote(2, "c", 9, 9))
    assert node.take_one(RequestVoteResponse).granted


def test_a_leader_that_campaigns_frees_its_voters():
    node = follower()
    node.receive(RequestVote(2, "a", 9, 9))
    assert node.take_one(RequestVoteResponse).granted


def test_an_election_that_the_leader_asked_for_frees_its_voters():
    node = follower()
    node.receive(RequestVoteResponse(2, "c", granted=False))
    node.receive(RequestVote(2, "c", 9, 9, transfer=True))
    assert node.take_one(RequestVoteResponse).granted


def test_entries_renew_the_promise():
    node = follower()
    node.now_ms = 500
    node.receive(AppendEntries(1, "a", 1, 1, (), 1, 1))
    node.now_ms = 500 + ELECTION_MS - 1
    node.receive(RequestVote(2, "c", 9, 9))
    assert node.core.current_term == 1


def test_a_leader_that_is_cut_off_answers_nothing_once_another_may_lead():
    cluster = Cluster("abc", lease_reads=True)
    old = cluster.elect()
    cluster.run_for(500)
    cluster.cut = {old.name}
    stale = []

    def elected() -> bool:
        read = old.core.read_index(cluster.now_ms) if old.role is Role.LEADER else 0
        old.pump()
        others = [node for node in cluster.leaders if node is not old]
        if others and isinstance(old.reads.get(read), ReadReady):
            stale.append(read)
        return bool(others)

    cluster.run(elected)
    assert stale == []


def test_late_answers_of_an_earlier_term_give_no_lease():
    node = lessee()
    node.receive(Heartbeat(2, "b", 1, 1))
    node.receive(TimeoutNow(2, "b"))
    node.receive(RequestVoteResponse(3, "b", granted=True))
    assert node.role is Role.LEADER
    acknowledge(node, "b")
    node.receive(HeartbeatResponse(1, "b", 1))
    node.take()
    node.read()
    assert node.reads == {}


def test_without_leases_a_later_term_frees_a_voter():
    # Nobody relies on the promise then, and an election need not wait for it.
    node = member("b", entries=log_of(1))
    node.receive(Heartbeat(1, "a", 0, 1))
    node.receive(RequestVoteResponse(5, "c", granted=False))
    node.receive(RequestVote(5, "c", 9, 9))
    assert node.disk.hard_state == HardState(5, "c")


# ---------------------------------------------------------------- a voter that is left alone


def left_alone(applied_index=0, **options):
    """A node that starts with the entry that makes it the only voter."""
    entries = [*log_of(1), membership_entry(2, 1, "b")]
    return member("b", "ab", entries=entries, applied_index=applied_index, now_ms=70, **options)


def test_the_promise_binds_the_own_vote_of_the_only_voter_over_a_restart():
    node = left_alone(lease_reads=True)
    assert node.core.next_timer() == 70 + ELECTION_MS
    node.tick()
    assert node.role is Role.LEADER


@pytest.mark.parametrize(
    "node",
    [
        left_alone(),
        # The leader before it has stepped down when it learns that this is committed.
        left_alone(applied_index=2, lease_reads=True),
        member("b", "b", now_ms=70, lease_reads=True),
        member("b", "b", entries=log_of(1), now_ms=70, lease_reads=True),
    ],
    ids=["without leases", "known to be committed", "new", "alone all along"],
)
def test_who_cannot_have_promised_anything_to_a_leader_that_leads_on_starts_at_once(node):
    assert node.core.next_timer() == 70
    node.tick()
    assert node.role is Role.LEADER


@pytest.mark.parametrize("change", [Remove, Demote])
def test_a_leader_that_left_answers_nothing_once_the_only_voter_leads(change):
    cluster = Cluster("ab", lease_reads=True)
    leaving = cluster.elect()
    cluster.run_for(500)
    (other,) = (node for node in cluster.members.values() if node is not leaving)
    cluster.lose = lambda sender, send: isinstance(send.message, AppendEntriesResponse)
    leaving.core.change_membership([change(leaving.name)], cluster.now_ms)
    cluster.settle()
    assert other.core.membership.voters == {other.name}
    cluster.cut = {other.name}
    other = start(other.name, other.disk, "ab", 1, seed=2, now_ms=cluster.now_ms, lease_reads=True)
    cluster.members[other.name] = other
    cluster.run(lambda: other.role is Role.LEADER)
    read = leaving.read() if leaving.role is Role.LEADER else 0
    assert not isinstance(leaving.reads.get(read), ReadReady)
