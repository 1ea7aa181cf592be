"""Reads of followers and learners, by a question to the leader: thesis §6.4."""

from __future__ import annotations

import pytest

from raftcore import ReadReady, ReadRefused, Role
from raftcore.messages import (
    AppendEntries,
    Heartbeat,
    HeartbeatResponse,
    ReadIndex,
    ReadIndexResponse,
    Removed,
)
from tests.core.cluster import (
    ELECTION_MS,
    HEARTBEAT_MS,
    acknowledge,
    answer_heartbeat,
    entry,
    leader,
    log_of,
    member,
)


@pytest.mark.parametrize("asker", ["follower", "learner"])
def test_a_follower_asks_the_leader(asker):
    # "Followers can help offload the processing of read-only queries ... the follower would issue a
    # request to the leader that just asks for a current readIndex."
    voters, learners = ("abc", "") if asker == "follower" else ("ac", "b")
    lead = leader(voters=voters, learners=learners)
    node = member("b", voters, learners=learners, entries=lead.entries())
    lead.propose(b"x")
    acknowledge(lead, "c")
    lead.tick()
    node.receive(lead.take(Heartbeat, "b")[-1])
    read = node.read()
    question = node.take_one(ReadIndex, "a")
    # "The leader would execute steps 1-3."
    lead.receive(question)
    assert lead.take(ReadIndexResponse) == []
    answer_heartbeat(lead, "c")
    reply = lead.take_one(ReadIndexResponse, "b")
    assert (reply.granted, reply.index) == (True, 2)
    # "And the follower would execute steps 4 and 5."
    node.receive(reply)
    assert node.reads == {}
    node.receive(AppendEntries(1, "a", 1, 1, (entry(2, 1),), 2, 1))
    assert node.reads == {read: ReadReady(read, 2)}


def following(name="b", voters="abc", **options):
    """A follower of `a` in term 1, which has applied one entry."""
    node = member(name, voters, entries=[entry(1, 1)], applied_index=1, **options)
    node.receive(Heartbeat(1, "a", 1, 1))
    node.take()
    return node


def grant(node, question, index=1, *, term=None, granted=True):
    term = question.term if term is None else term
    node.receive(ReadIndexResponse(term, "a", question.request, granted, index))


def test_reads_of_one_turn_share_a_question_and_those_that_come_meanwhile_the_next():
    node = following()
    first = [node.core.read_index(node.now_ms) for _ in range(10)]
    node.pump()
    later = [node.read() for _ in range(10)]
    question = node.take_one(ReadIndex)
    grant(node, question)
    assert sorted(node.reads) == first
    grant(node, node.take_one(ReadIndex))
    assert sorted(node.reads) == first + later


def test_an_answer_to_another_question_is_dropped():
    # It may tell of an index from before this question.
    node = following()
    node.read()
    question = node.take_one(ReadIndex)
    node.receive(ReadIndexResponse(1, "a", question.request - 1, granted=True, index=1))
    node.receive(ReadIndexResponse(1, "a", question.request + 1, granted=True, index=1))
    assert node.reads == {}


def test_a_question_of_another_incarnation_has_another_number():
    # The same node, restarted: what answered its questions then may be too old for those of now.
    before, after = following(seed=1), following(seed=2)
    before.read()
    after.read()
    asked = [node.take_one(ReadIndex).request for node in (before, after)]
    assert abs(asked[0] - asked[1]) > 1000


def test_an_answer_that_comes_twice_counts_once():
    node = following()
    read = node.read()
    question = node.take_one(ReadIndex)
    grant(node, question)
    grant(node, question)
    assert list(node.reads) == [read]


def test_a_lost_question_is_repeated_when_the_leader_is_heard():
    node = following()
    node.read()
    question = node.take_one(ReadIndex)
    node.receive(Heartbeat(1, "a", 1, 2))
    assert node.take(ReadIndex) == [], "the answer may be on its way"
    node.now_ms += HEARTBEAT_MS
    node.receive(Heartbeat(1, "a", 1, 3))
    assert node.take_one(ReadIndex) == question


def test_a_question_asked_again_is_answered_as_of_the_last_time():
    lead = leader()
    lead.receive(ReadIndex(1, "b", 7))
    answer_heartbeat(lead, "c")
    assert lead.take_one(ReadIndexResponse).index == 1
    lead.propose(b"x")
    acknowledge(lead, "c")
    lead.receive(ReadIndex(1, "b", 7))
    answer_heartbeat(lead, "c")
    assert lead.take_one(ReadIndexResponse).index == 2


def test_a_question_that_comes_often_takes_no_room():
    lead = leader(settled=False)
    for request in range(1000):
        lead.receive(ReadIndex(1, "b", request))
    assert len(lead.core._node.reads.forwarded) == 1


def test_an_unanswered_question_is_given_up():
    node = member("l", "abc", learners="l", entries=[entry(1, 1)], applied_index=1)
    node.receive(Heartbeat(1, "a", 1, 1))
    read = node.read()
    node.tick()
    assert node.reads == {read: ReadRefused(read, "no answer")}
    assert node.core.next_timer() is None


def test_a_question_ends_with_the_leader_that_was_asked():
    node = following()
    read = node.read()
    node.receive(Heartbeat(2, "c", 1, 1))
    assert node.reads == {read: ReadRefused(read, "leader lost")}


def test_without_a_leader_there_is_nobody_to_ask():
    node = member("b")
    read = node.read()
    assert node.reads == {read: ReadRefused(read, "no leader")}


def test_who_does_not_lead_says_so():
    node = following()
    node.receive(ReadIndex(1, "c", 5))
    assert node.take_one(ReadIndexResponse, "c") == ReadIndexResponse(1, "b", 5, False, 0)


def test_who_asks_in_an_earlier_term_learns_of_the_present_one():
    lead = leader(entries=log_of(1, 2), term=4)
    lead.receive(ReadIndex(1, "b", 5))
    refusal = lead.take_one(ReadIndexResponse, "b")
    assert (refusal.term, refusal.granted) == (5, False)
    node = following()
    read = node.read()
    grant(node, node.take_one(ReadIndex), term=5, granted=False)
    assert node.core.current_term == 5
    assert node.reads == {read: ReadRefused(read, "leader lost")}


def test_who_asks_in_a_later_term_is_believed():
    lead = leader()
    lead.receive(ReadIndex(9, "b", 5))
    assert (lead.role, lead.core.current_term) == (Role.FOLLOWER, 9)
    assert not lead.take_one(ReadIndexResponse, "b").granted


def test_who_is_no_member_gets_no_answer_from_the_state():
    lead = leader()
    lead.receive(ReadIndex(1, "x", 5))
    assert not lead.take_one(ReadIndexResponse, "x").granted


def test_a_leader_that_loses_its_place_tells_those_who_asked():
    lead = leader()
    lead.receive(ReadIndex(1, "b", 5))
    lead.read()
    lead.receive(ReadIndex(1, "c", 6))
    lead.receive(Heartbeat(2, "c", 1, 1))
    told = {m.request: m.granted for m in lead.take(ReadIndexResponse)}
    assert told == {5: False, 6: False}


def test_a_refused_follower_is_told_so():
    node = following()
    read = node.read()
    grant(node, node.take_one(ReadIndex), granted=False)
    assert node.reads == {read: ReadRefused(read, "leader lost")}


def test_who_becomes_leader_answers_what_waits_itself():
    node = following(voters="ab")
    asked, waiting = node.read(), node.read()
    node.receive(HeartbeatResponse(2, "a", 1))  # a later term: the leader is lost
    assert node.reads[asked] == ReadRefused(asked, "leader lost")
    assert node.reads[waiting] == ReadRefused(waiting, "no leader")


# ---------------------------------------------------------------- an index that never comes


def granted_beyond_the_log(**options):
    """A node with a read that waits for entry 5, of which it holds the first; time is 100."""
    node = following(**options)
    node.tick(100)
    read = node.read()
    grant(node, node.take_one(ReadIndex), 5)
    assert node.reads == {}
    return node, read


@pytest.mark.parametrize("role", ["follower", "learner"])
def test_a_granted_read_is_given_up_when_the_leader_falls_silent(role):
    options = {} if role == "follower" else {"voters": "ac", "learners": "b"}
    node, read = granted_beyond_the_log(**options)
    node.tick(500)
    node.receive(Heartbeat(1, "a", 1, 2))
    # As long as the leader is heard, the entries may be on their way.
    node.tick(500 + ELECTION_MS - 1)
    assert node.reads == {}
    assert node.core.next_timer() == 500 + ELECTION_MS
    node.tick()
    assert node.reads == {read: ReadRefused(read, "no answer")}
    assert node.core.status(node.now_ms).reads_pending == 0


def test_it_is_given_up_though_the_leader_was_never_heard_since():
    node, read = granted_beyond_the_log(voters="ac", learners="b")
    assert node.core.next_timer() == 100 + ELECTION_MS
    second = node.read()
    assert node.core.next_timer() == 100 + ELECTION_MS, "the question's own end"
    node.tick()
    assert node.reads == {one: ReadRefused(one, "no answer") for one in (read, second)}
    assert node.core.next_timer() is None


def test_one_whose_index_is_committed_is_not_given_up():
    # The state machine is slow, and nobody else is needed.
    node = following()
    node.slow_state = True
    node.receive(AppendEntries(1, "a", 1, 1, (entry(2, 1),), 2, 1))
    read = node.read()
    grant(node, node.take_one(ReadIndex), 2)
    later = node.read()
    grant(node, node.take_one(ReadIndex), 3)
    node.tick(2 * ELECTION_MS)
    assert node.reads == {later: ReadRefused(later, "no answer")}
    node.apply()
    node.pump()
    assert node.reads[read] == ReadReady(read, 2)


def test_a_removed_node_gives_it_up_at_once():
    node, read = granted_beyond_the_log()
    node.receive(Removed(1, "a"))
    assert node.reads == {read: ReadRefused(read, "no leader")}
    assert node.core.next_timer() is None
