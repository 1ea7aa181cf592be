"""A follower that is slow or far behind is no burden to the others, or to the leader."""

from __future__ import annotations

import pytest

from raftcore import Config, Persist, ProposalRefused, Role, Send
from raftcore.messages import AppendEntries, AppendEntriesResponse
from tests.core.cluster import HEARTBEAT_MS, acknowledge, answer_heartbeat, entry, leader

KIB = b"x" * 1024


def far_behind(**config):
    """A leader of a hundred entries that `b` holds and `c` has none of; all but the last on disk."""
    entries = [entry(i, 1, KIB) for i in range(1, 101)]
    node = leader(entries=entries, settled=False, append_bytes_max=2048, **config)
    acknowledge(node, "b")
    session = node.core._node.leading.progress["c"].session
    node.take()
    node.core.receive(AppendEntriesResponse(2, "c", session, False, 0, 100, 0, 0), node.now_ms)
    return node


def sends(node, to):
    return [e.message for e in node.core.take_effects() if isinstance(e, Send) and e.to == to]


def test_catching_one_up_holds_no_entry_back_from_the_others():
    node = far_behind()
    for number in range(5):
        index, _ = node.core.propose(b"%d" % number, node.now_ms)
        messages = sends(node, "b")
        assert [m.entries[-1].index for m in messages if m.entries] == [index]


def test_what_the_others_hold_is_committed_without_it():
    node = far_behind()
    index, _ = node.propose(b"x")
    acknowledge(node, "b", index)
    assert node.core.commit_index == index
    assert node.applied[-1].index == index


def test_a_turn_reads_little_from_the_disk_for_it():
    node = far_behind()
    assert sum(len(m.entries) for m in sends(node, "c")) <= 4


def test_each_answer_brings_it_the_next_entries():
    node = far_behind()
    node.pump()
    held = 0
    for _ in range(100):
        messages = [m for m in node.take(AppendEntries, "c") if m.entries]
        if not messages:
            break
        for message in messages:
            assert message.prev_log_index <= held
            held = max(held, message.entries[-1].index)
        acknowledge(node, "c", held)
    assert held == node.core.last_index


def test_it_keeps_nothing_in_memory():
    node = leader(cache_bytes_max=10 * 1024, inflight_max=2)
    for _ in range(100):
        index, _ = node.propose(KIB)
        acknowledge(node, "b", index)
    assert node.core.status(node.now_ms).memory_bytes <= 12 * 1024
    assert node.core.status(node.now_ms).members[2].inflight == 2, "the window of c is full"


def test_it_does_not_make_the_leader_refuse_proposals():
    node = leader(uncommitted_bytes_max=4 * 1024)
    for _ in range(100):
        index, _ = node.propose(KIB)
        acknowledge(node, "b", index)
    node.propose(KIB)
    node.propose(KIB)
    with pytest.raises(ProposalRefused):
        for _ in range(5):
            node.propose(KIB)


def test_the_leaders_own_write_and_its_messages_leave_together():
    # Thesis §10.2.1: "the leader can write to its disk in parallel with replicating to followers".
    node = leader()
    node.core.propose(b"x", node.now_ms)
    effects = node.core.take_effects()
    persist = next(e for e in effects if isinstance(e, Persist))
    entries = [e for e in effects if isinstance(e, Send) and isinstance(e.message, AppendEntries)]
    assert len(entries) == 2
    assert all(send.after < persist.ticket for send in entries)


def test_an_entry_is_committed_by_followers_before_the_leaders_own_write():
    # "... the leader may even commit an entry before it has been written to its own disk."
    node = leader(slow_disk=True, settled=False)
    node.write_and_pump()
    for name in "bc":
        acknowledge(node, name)
    index, _ = node.propose(b"x")
    acknowledge(node, "b", index)
    assert node.core.commit_index == 1
    acknowledge(node, "c", index)
    assert node.core.commit_index == index


# ---------------------------------------------------------------- entries that do not get through


def stalled(node, limit_ms=100_000):
    """Let time pass while heartbeats are answered and entries are not; when it stepped down."""
    started_ms = node.now_ms
    while node.role is Role.LEADER and node.now_ms < started_ms + limit_ms:
        answer_heartbeat(node, "b")
        answer_heartbeat(node, "c")
        node.tick()
    return node.now_ms - started_ms if node.role is not Role.LEADER else None


def test_a_leader_whose_entries_get_nowhere_steps_down():
    node = leader(commit_stall_ms=5000)
    node.tick()
    node.propose(b"x")
    assert 5000 <= stalled(node) <= 5000 + 3 * HEARTBEAT_MS


def test_a_leader_with_nothing_to_commit_stays():
    assert stalled(leader(commit_stall_ms=5000)) is None


def test_it_can_be_switched_off():
    node = leader(commit_stall_ms=0)
    node.propose(b"x")
    assert stalled(node) is None
    with pytest.raises(ValueError, match="commit_stall_ms"):
        Config("a", commit_stall_ms=-1)


def test_a_leader_whose_followers_take_something_stays():
    node = leader(voters="abcde", commit_stall_ms=5000)
    for _ in range(30):
        node.propose(b"x")
    for index in range(2, 30):
        for _ in range(20):
            for name in "bcde":
                answer_heartbeat(node, name)
            node.tick()
        acknowledge(node, "b", index)
    assert node.core.commit_index == 1
    assert node.role is Role.LEADER
