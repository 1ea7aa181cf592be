"""Reads that bypass the log: thesis §6.4, one test per sentence."""

from __future__ import annotations

from raftcore import Membership, ReadReady, ReadRefused, Role
from raftcore.messages import (
    AppendEntries,
    Heartbeat,
    HeartbeatResponse,
    RequestVoteResponse,
    TimeoutNow,
)
from tests.core.cluster import (
    HEARTBEAT_MS,
    Cluster,
    acknowledge,
    answer_heartbeat,
    leader,
    log_of,
    member,
)


def answer(node, follower, sequence):
    node.receive(HeartbeatResponse(node.core.current_term, follower, sequence))


# ---------------------------------------------------------------- step 1: an entry of its own


def test_a_leader_without_a_committed_entry_of_its_term_waits_until_it_has_one():
    # "If the leader has not yet marked an entry from its current term committed, it waits until it
    # has done so."
    node = leader(entries=log_of(1, 1, 1), settled=False)
    read = node.read()
    answer_heartbeat(node, "b")
    node.tick()
    answer_heartbeat(node, "b")
    assert node.reads == {}
    acknowledge(node, "b")
    answer_heartbeat(node, "b")
    assert node.reads == {read: ReadReady(read, 4)}


def test_what_an_earlier_leader_committed_is_in_the_read_index_of_the_next():
    # "The Leader Completeness Property guarantees that a leader has all committed entries, but at
    # the start of its term, it may not know which those are."
    cluster = Cluster()
    first = cluster.elect()
    first.propose(b"acknowledged")
    cluster.settle()
    index = first.core.commit_index
    cluster.cut = {first.name}
    second = cluster.elect()
    read = second.read()
    cluster.settle()
    assert second.reads[read].index > index


# ---------------------------------------------------------------- step 2: the index


def test_the_read_index_is_the_commit_index():
    # "The leader saves its current commit index in a local variable readIndex."
    node = leader()
    node.propose(b"committed")
    acknowledge(node, "b")
    node.propose(b"not committed")
    read = node.read()
    answer_heartbeat(node, "b")
    assert node.reads[read] == ReadReady(read, 2)


# ---------------------------------------------------------------- step 3: a round of heartbeats


def test_a_leader_asks_whether_it_has_been_superseded():
    # "The leader needs to make sure it has not been superseded by a newer leader of which it is
    # unaware.  It issues a new round of heartbeats and waits for their acknowledgments from a
    # majority of the cluster."
    node = leader(voters="abcde")
    before = node.core._node.leading.sequence
    read = node.read()
    beats = node.take(Heartbeat)
    assert [beat.sequence for beat in beats] == [before + 1] * 4
    answer_heartbeat(node, "b")
    assert node.reads == {}
    answer_heartbeat(node, "c")
    assert node.reads == {read: ReadReady(read, 1)}


def test_one_voter_is_no_majority_however_often_it_answers():
    node = leader(voters="abcde")
    node.read()
    answer_heartbeat(node, "b")
    answer_heartbeat(node, "b")
    assert node.reads == {}


def test_answers_to_heartbeats_sent_before_the_question_confirm_nothing():
    # "Once these acknowledgments are received, the leader knows that there could not have existed a
    # leader for a greater term at the moment it sent the heartbeats."
    node = leader()
    node.tick()
    earlier = node.take(Heartbeat, "b")[-1].sequence
    read = node.read()
    answer(node, "b", earlier)
    answer(node, "c", earlier)
    assert node.reads == {}
    answer(node, "c", earlier + 1)
    assert read in node.reads


def test_answers_to_later_heartbeats_confirm_what_was_asked_before():
    node = leader()
    read = node.read()
    node.take()
    node.tick()
    answer_heartbeat(node, "b")
    assert node.reads == {read: ReadReady(read, 1)}


def test_answers_to_heartbeats_that_were_not_sent_confirm_nothing():
    node = leader()
    node.read()
    answer(node, "b", 99)
    answer(node, "c", 99)
    assert node.reads == {}


def test_learners_and_strangers_confirm_nothing():
    node = leader(voters="abc", learners="l")
    node.read()
    answer_heartbeat(node, "l")
    answer_heartbeat(node, "x")
    assert node.reads == {}


def test_a_joint_configuration_needs_both_majorities():
    node = leader(voters="abc")
    joint = Membership(frozenset("abc"), voters_outgoing=frozenset("ade"))
    leading = node.core._node.leading
    for name in "de":
        leading.progress[name] = type(leading.progress["b"])(2, leading.next_session())
    node.core._node.log._memberships._history[-1] = (1, joint)
    read = node.read()
    answer_heartbeat(node, "b")
    assert node.reads == {}
    answer_heartbeat(node, "e")
    assert read in node.reads


def test_a_leader_superseded_meanwhile_does_not_answer():
    node = leader()
    read = node.read()
    node.take()
    node.receive(Heartbeat(9, "b", 1, 1))
    assert node.reads == {read: ReadRefused(read, "leader lost")}


def test_a_leader_that_gives_up_refuses_what_waits():
    node = leader()
    read = node.read()
    while node.role is Role.LEADER:
        node.tick()
    assert node.reads == {read: ReadRefused(read, "leader lost")}


def test_reads_of_an_earlier_term_are_not_confirmed_by_answers_of_a_later_one():
    # Heartbeats are numbered anew in each term.
    node = leader()
    read = node.read()
    node.receive(Heartbeat(2, "b", 1, 1))
    node.receive(TimeoutNow(2, "b"))
    node.receive(RequestVoteResponse(3, "b", granted=True))
    assert node.role is Role.LEADER
    acknowledge(node, "b")
    again = node.read()
    answer(node, "b", 1)
    assert node.reads == {read: ReadRefused(read, "leader lost")}
    answer(node, "b", 2)
    assert node.reads[again] == ReadReady(again, 2)


# ---------------------------------------------------------------- steps 4 and 5: the state machine


def test_the_state_machine_is_read_once_it_has_applied_the_read_index():
    # "The leader waits for its state machine to advance at least as far as the readIndex; this is
    # current enough to satisfy linearizability."
    node = leader(slow_disk=True, settled=False)
    node.write_and_pump()
    for name in "bc":
        acknowledge(node, name)
    node.core.propose(b"x", node.now_ms)
    node.core.propose(b"y", node.now_ms)
    node.pump()
    # Two others hold it: it is committed, but not on this node's disk, and so not applied here.
    for name in "bc":
        acknowledge(node, name)
    assert (node.core.commit_index, node.core.applied_index) == (3, 1)
    read = node.read()
    answer_heartbeat(node, "b")
    assert node.reads == {}
    node.write_and_pump()
    assert node.reads == {read: ReadReady(read, 3)}


# ---------------------------------------------------------------- shared rounds


def test_one_round_of_heartbeats_serves_any_number_of_reads():
    # "If the leader accumulates read-only queries, it can use a single round of heartbeats."
    node = leader()
    reads = [node.core.read_index(node.now_ms) for _ in range(100)]
    node.pump()
    assert len(node.take(Heartbeat, "b")) == 1
    answer_heartbeat(node, "b")
    assert sorted(node.reads) == reads


def test_reads_that_come_while_a_round_is_under_way_share_the_next():
    node = leader()
    first = node.read()
    later = [node.read() for _ in range(10)]
    assert len(node.take(Heartbeat, "b")) == 1
    answer_heartbeat(node, "b")
    assert sorted(node.reads) == [first]
    assert len(node.take(Heartbeat, "b")) == 1
    answer_heartbeat(node, "b")
    assert sorted(node.reads) == [first, *later]


def test_a_lost_round_is_made_up_for_by_the_next_heartbeat():
    node = leader()
    reads = [node.read(), node.read()]
    node.take()
    node.tick()
    answer_heartbeat(node, "c")
    assert sorted(node.reads) == reads


def test_reads_do_not_put_off_the_timer():
    # With the timer comes the look at contact and disk: reads must not keep it from happening.
    node = leader()
    due_ms = node.core.next_timer()
    node.now_ms += HEARTBEAT_MS // 2
    node.read()
    assert node.core.next_timer() == due_ms


def test_answers_to_a_reads_heartbeat_say_nothing_of_lost_entries():
    # Reads may come a thousand times in the time that a follower needs to write.
    node = leader()
    node.propose(b"x")
    node.take()
    for _ in range(5):
        node.read()
        answer_heartbeat(node, "b")
    assert node.take(AppendEntries) == []


def test_contact_is_counted_from_the_timers_heartbeats():
    node = leader()
    node.now_ms += 100
    node.read()
    answer_heartbeat(node, "b")
    assert node.core._node.leading.progress["b"].contact_ms == node.now_ms - 100


def test_a_cluster_of_one_answers_by_itself():
    node = leader(voters="a")
    read = node.read()
    assert node.reads == {read: ReadReady(read, 1)}
    assert node.sent == []


def test_a_cluster_of_one_waits_for_its_own_disk():
    node = member(voters="a", slow_disk=True)
    node.tick()
    read = node.read()
    assert node.reads == {read: ReadRefused(read, "no leader")}, "its own vote is not durable"
    node.write_and_pump()
    read = node.read()
    assert read not in node.reads
    node.write_and_pump()
    assert node.reads[read] == ReadReady(read, 1)


# ---------------------------------------------------------------- bounds


def test_too_many_reads_are_refused_as_busy():
    node = leader(reads_max=3)
    reads = [node.read() for _ in range(5)]
    assert node.reads == {r: ReadRefused(r, "busy") for r in reads[3:]}
    answer_heartbeat(node, "b")
    answer_heartbeat(node, "b")
    assert sorted(node.reads) == reads
    node.read()
    assert len(node.reads) == 5, "there is room again"


def test_a_cluster_reads_what_was_written():
    cluster = Cluster("abc")
    lead = cluster.elect()
    for number in range(5):
        index, _ = lead.propose(b"%d" % number)
        cluster.settle()
        for node in cluster.members.values():
            read = node.read()
            cluster.run(lambda node=node, read=read: read in node.reads)
            assert node.reads[read].index >= index
            assert node.core.applied_index >= index


def test_a_leader_that_was_cut_off_serves_no_stale_read():
    cluster = Cluster("abc")
    old = cluster.elect()
    cluster.cut = {old.name}
    new = cluster.elect()
    new.propose(b"news")
    cluster.settle()
    read = old.read()
    cluster.cut = set()
    cluster.run(lambda: read in old.reads)
    assert isinstance(old.reads[read], ReadRefused)
