"""What must be on disk before what: tickets (paper, Figure 2, "persistent state"; thesis §10.2.1)."""

from __future__ import annotations

import pytest

from raftcore import (
    Apply,
    HardState,
    InvariantViolation,
    Persist,
    Role,
    Send,
)
from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from raftcore.state.writes import Writes
from tests.core.cluster import acknowledge, candidate, entry, leader, log_of, member


def append(term, prev, prev_term, *terms, commit=0, leader="b"):
    entries = tuple(entry(prev + i, t) for i, t in enumerate(terms, 1))
    return AppendEntries(term, leader, prev, prev_term, entries, commit, 1)


def test_a_vote_leaves_only_once_it_is_on_disk():
    # "Updated on stable storage before responding to RPCs" (Figure 2).
    node = member(slow_disk=True)
    node.receive(RequestVote(1, "b", 0, 0))
    assert node.take() == []
    node.write_and_pump()
    assert node.disk.hard_state == HardState(1, "b")
    assert node.take_one(RequestVoteResponse).granted


def test_a_candidates_requests_leave_only_once_its_own_vote_is_on_disk():
    node = member(slow_disk=True)
    node.tick()
    node.take()
    node.receive(PreVoteResponse(1, "b", granted=True))
    assert node.take(RequestVote) == []
    node.write_and_pump()
    assert node.disk.hard_state == HardState(1, "a")
    assert len(node.take(RequestVote)) == 2


def test_nothing_that_tells_of_a_term_leaves_before_the_term_is_on_disk():
    node = member(slow_disk=True)
    node.receive(Heartbeat(3, "b", 0, 1))
    node.receive(append(3, 5, 3))
    assert node.take() == []
    node.write_and_pump()
    assert [m.term for m in node.take()] == [3, 3]


def test_a_candidates_own_vote_counts_only_once_it_is_on_disk():
    node = member(voters="abcde", slow_disk=True)
    node.tick()
    for voter in "bc":
        node.receive(PreVoteResponse(1, voter, granted=True))
    for voter in "bc":
        node.receive(RequestVoteResponse(1, voter, granted=True))
    assert node.role is Role.CANDIDATE, "two of five, and its own vote may still be lost"
    node.write_and_pump()
    assert node.role is Role.LEADER


def test_a_vote_on_disk_for_an_earlier_term_is_not_one_for_this():
    node = member(voters="abc", slow_disk=True)
    node.tick()
    node.receive(PreVoteResponse(1, "b", granted=True))
    earlier = node.unwritten[-1].ticket
    node.core._node.set_hard_state(2, "a")
    node.core.persisted(earlier, node.now_ms)
    assert node.core._node.votes == {}
    node.pump()
    node.core.persisted(node.unwritten[-1].ticket, node.now_ms)
    assert node.core._node.votes == {"a": True}


def test_an_acknowledgement_leaves_only_once_the_entries_are_on_disk():
    node = member(term=1, slow_disk=True)
    node.receive(append(1, 0, 0, 1, 1))
    assert node.take() == []
    node.write_and_pump()
    assert node.take_one(AppendEntriesResponse).match_index == 2


def test_so_does_one_for_entries_that_came_twice():
    # The second message brings nothing new, but what it brings is not on disk either.
    node = member(term=1, slow_disk=True)
    node.receive(append(1, 0, 0, 1, 1))
    node.held.clear()
    node.receive(append(1, 0, 0, 1, 1))
    assert node.take() == []
    node.write_and_pump()
    assert node.take_one(AppendEntriesResponse).match_index == 2


def test_a_leader_sends_entries_while_it_writes_them():
    # "The leader can write to its disk in parallel with replicating to the followers" (§10.2.1).
    node = leader()
    node.slow_disk = True
    node.propose(b"x")
    assert len(node.take(AppendEntries)) == 2


def test_a_leaders_own_copy_counts_only_once_it_is_on_disk():
    node = leader(voters="abcde")
    node.slow_disk = True
    node.propose(b"x")
    acknowledge(node, "b")
    acknowledge(node, "c")
    assert node.core.commit_index == 1, "two of five, and its own copy may still be lost"
    node.write_and_pump()
    assert node.core.commit_index == 2


def test_a_majority_of_followers_commits_without_the_leaders_own_disk():
    # "The leader may even commit an entry before it has been written to its own disk" (§10.2.1).
    node = leader()
    node.slow_disk = True
    node.propose(b"x")
    acknowledge(node, "b")
    acknowledge(node, "c")
    assert node.core.commit_index == 2
    assert node.applied[-1].index == 1, "but is applied there only when it is"
    node.write_and_pump()
    assert node.applied[-1].index == 2


def test_a_follower_applies_only_what_is_on_its_own_disk():
    # Or the database could be ahead of the log after a crash.
    node = member(slow_disk=True)
    node.receive(append(1, 0, 0, 1, 1, commit=2))
    assert node.core.commit_index == 2
    assert node.applied == []
    node.write_and_pump()
    assert [e.index for e in node.applied] == [1, 2]


def test_a_cluster_of_one_commits_only_what_is_on_disk():
    node = leader("a", "a")
    node.slow_disk = True
    node.propose(b"x")
    assert node.core.commit_index == 1
    node.write_and_pump()
    assert node.applied[-1].data == b"x"


def test_a_new_term_goes_to_disk_no_later_than_its_entries():
    node = member(slow_disk=True)
    node.core.receive(append(4, 0, 0, 4), 0)
    (persist,) = (e for e in node.core.take_effects() if isinstance(e, Persist))
    assert persist.hard_state == HardState(4, None)
    assert [e.term for e in persist.entries] == [4]


def test_many_inputs_are_one_write_and_one_message_each():
    node = leader()
    for index in range(1000):
        node.core.propose(b"%d" % index, node.now_ms)
    effects = node.core.take_effects()
    (persist,) = (e for e in effects if isinstance(e, Persist))
    assert len(persist.entries) == 1000
    assert sorted(e.to for e in effects if isinstance(e, Send)) == ["b", "c"]
    assert node.core.take_effects() == []


def test_many_appends_are_one_write_and_one_acknowledgement():
    node = member()
    for index in range(10):
        node.core.receive(append(1, index, min(index, 1), 1), 0)
    effects = node.core.take_effects()
    (persist,) = (e for e in effects if isinstance(e, Persist))
    (send,) = (e for e in effects if isinstance(e, Send))
    assert len(persist.entries) == 10
    assert send.message.match_index == 10
    assert send.after == persist.ticket


def test_an_old_message_behind_a_new_one_does_not_take_the_acknowledgement_back():
    node = member(entries=log_of(1))
    node.core.receive(append(1, 1, 1, 1, 1), 0)
    node.core.receive(append(1, 0, 0, 1), 0)
    node.pump()
    assert node.take_one(AppendEntriesResponse).match_index == 3


def test_entries_stay_in_memory_until_they_can_be_read_from_disk():
    node = leader(cache_bytes_max=1)
    node.slow_disk = True
    node.propose(b"x")
    node.propose(b"y")
    node.take()
    session = node.core._node.leading.progress["b"].session
    node.receive(AppendEntriesResponse(1, "b", session, False, 0, 2, 1, 1))
    assert [e.data for e in node.take_one(AppendEntries, "b").entries] == [b"x", b"y"]
    node.write_and_pump()
    assert [e.data for e in node.entries()[1:]] == [b"x", b"y"]


def test_entries_replaced_before_they_were_written_are_never_written():
    node = member()
    node.core.receive(append(1, 0, 0, 1, 1, 1), 0)
    node.core.receive(append(2, 1, 1, 2, leader="c"), 0)
    node.pump()
    (persist,) = node.persists
    assert [(e.index, e.term) for e in persist.entries] == [(1, 1), (2, 2)]


def test_tickets_rise_by_one():
    node = member()
    for index in range(4):
        node.receive(append(1, index, min(index, 1), 1))
    assert [p.ticket for p in node.persists] == [1, 2, 3, 4]


# ---------------------------------------------------------------- replaced while being written


def test_a_write_confirmed_late_says_nothing_of_entries_replaced_meanwhile():
    node = member(slow_disk=True)
    node.receive(append(1, 0, 0, 1, 1, 1, commit=1))
    node.receive(append(2, 1, 1, 2, leader="c", commit=2))
    node.write_and_pump(1)
    assert [e.index for e in node.applied] == [1]
    assert node.core._node.log.stable_index == 1
    node.write_and_pump(1)
    assert [(e.index, e.term) for e in node.applied] == [(1, 1), (2, 2)]


def test_nor_if_an_equal_entry_has_come_back_since():
    # A, B, A: written, replaced, written again.  When the first write is confirmed, the log holds
    # an equal entry, but on disk the second write is still to come and will remove it.
    node = member(slow_disk=True)
    first = append(1, 0, 0, 1, 1)
    node.receive(first)
    node.receive(append(2, 1, 1, 2, leader="c"))
    node.held.clear()
    node.receive(AppendEntries(3, "d", 1, 1, first.entries[1:], 2, 1))
    node.write_and_pump(1)
    assert node.core._node.log.stable_index == 1
    assert [e.index for e in node.applied] == [1]
    assert node.take() == [], "the last leader is not told before the last write"
    node.write_and_pump(1)
    assert node.take() == []
    node.write_and_pump(1)
    assert node.take_one(AppendEntriesResponse, "d").match_index == 2
    assert node.terms() == [1, 1]


def test_a_leader_does_not_count_itself_for_a_write_of_what_was_replaced():
    writes = Writes()
    first = writes.issue(5, with_state=False, now_ms=0)
    writes.clip(4)
    second = writes.issue(5, with_state=False, now_ms=0)
    assert writes.confirm(first) == 3
    assert writes.confirm(second) == 5


def test_a_ticket_confirms_those_before_it():
    writes = Writes()
    writes.issue(5, with_state=True, now_ms=0)
    last = writes.issue(7, with_state=False, now_ms=0)
    assert (writes.after_state, writes.after_all) == (1, 2)
    assert writes.confirm(last) == 7
    assert (writes.after_state, writes.after_all) == (0, 0)
    assert writes.confirm(last) == 0
    with pytest.raises(InvariantViolation, match="never handed out"):
        writes.confirm(last + 1)


# ---------------------------------------------------------------- start, stop, stall


def test_after_a_restart_nothing_is_applied_before_a_leader_says_it_is_committed():
    node = member(entries=log_of(1, 1, 1), applied_index=1)
    assert node.core.commit_index == 1
    node.pump()
    assert node.applied == []
    node.receive(append(1, 3, 1, commit=3))
    assert [e.index for e in node.applied] == [2, 3]


def test_a_state_machine_ahead_of_its_log_refuses_to_start():
    with pytest.raises(InvariantViolation, match="lost or restored"):
        member(entries=log_of(1, 1), applied_index=3)


def test_a_node_that_lost_what_it_acknowledged_stops():
    node = member(entries=log_of(1, 1))
    with pytest.raises(InvariantViolation, match="lost entries"):
        node.receive(Heartbeat(1, "b", 3, 1))


def test_a_leader_whose_disk_hangs_steps_down():
    # Its heartbeats would keep it in office while it can write nothing.
    node = leader(write_stall_ms=3000)
    node.slow_disk = True
    node.propose(b"x")
    started_ms = node.now_ms
    while node.role is Role.LEADER:
        node.core._node.leading.progress["b"].contact_ms = node.now_ms
        node.tick()
        assert node.now_ms <= started_ms + 3500
    assert node.now_ms >= started_ms + 3000


def test_a_disk_that_is_only_slow_keeps_its_leader():
    node = leader(write_stall_ms=3000)
    node.slow_disk = True
    for _ in range(100):
        node.propose(b"x")
        node.core._node.leading.progress["b"].contact_ms = node.now_ms
        node.tick()
        if len(node.unwritten) > 15:
            node.write_and_pump(len(node.unwritten) - 5)
    assert node.role is Role.LEADER


def test_what_is_handed_out_to_be_applied_is_bounded():
    node = member(entries=[entry(i, 1, b"x" * 100) for i in range(1, 101)], apply_bytes_max=1000)
    node.core.receive(append(1, 100, 1, commit=100), 0)
    handed_out = [e for e in node.core.take_effects() if isinstance(e, Apply)]
    assert sum(len(a.entries) for a in handed_out) < 20
    assert node.core.take_effects() == []
    last = 0
    while handed_out:
        for batch in handed_out:
            assert batch.entries[0].index == last + 1
            last = batch.entries[-1].index
        node.core.applied(last)
        handed_out = [e for e in node.core.take_effects() if isinstance(e, Apply)]
    assert last == 100
    assert node.core.applied_index == 100


def test_applied_cannot_be_ahead_of_what_was_handed_out():
    node = candidate()
    with pytest.raises(InvariantViolation, match="handed out"):
        node.core.applied(1)
