"""Nodes that start from a compacted log (paper §7)."""

from __future__ import annotations

import pytest

from raftcore import Entry, EntryKind, HardState, InvariantViolation, TakeSnapshot
from raftcore.messages import AppendEntries, Heartbeat, RequestVote, RequestVoteResponse
from raftcore.starting import align
from raftcore.storage import MemoryLog
from tests.core.changing import of
from tests.core.cluster import ELECTION_MS, entry, log_of, membership_entry, start
from tests.core.snapshots import ON, compacted, elected, lags, meta

# ---------------------------------------------------------------- after it


def restarted(entries, snapshot, applied_index=None, term=3, **options):
    """A node that starts from a log that was compacted to these entries."""
    disk = MemoryLog()
    disk.reset(snapshot)
    disk.append(HardState(term), entries)
    if applied_index is None:
        applied_index = snapshot.index
    return start("a", disk, "xyz", applied_index, **ON | options)


def test_the_first_entry_behind_it_is_checked_against_it():
    """ "These are preserved to support the AppendEntries consistency check for the first log entry
    following the snapshot, since that entry needs a previous log index and term." """
    node = restarted([], meta(5, 2))
    (new,) = log_of(0, 0, 0, 0, 0, 3)[5:]
    node.receive(AppendEntries(3, "b", 5, 2, (new,), 5, 1))
    assert node.core.last_index == 6
    leading = compacted(entries=6)
    leading.propose(b"x")
    message = leading.take_one(AppendEntries, "c")
    assert (message.prev_log_index, message.prev_log_term) == (6, 1)


def test_a_leader_that_has_another_entry_there_stops_the_node():
    node = restarted([], meta(5, 2))
    with pytest.raises(InvariantViolation, match="committed here in term 2"):
        node.receive(AppendEntries(3, "b", 5, 3, (), 5, 1))


def test_what_was_compacted_is_no_conflict():
    node = restarted([], meta(5, 2))
    node.receive(AppendEntries(3, "b", 2, 1, tuple(log_of(1, 1, 1, 2, 2, 3)[2:]), 6, 1))
    assert [one.index for one in node.entries()] == [6]
    assert node.core.commit_index == 6


def test_a_refusal_names_a_place_that_the_leader_can_check():
    node = restarted(log_of(0, 0, 0, 0, 0, 3)[5:], meta(5, 2), term=4)
    node.receive(AppendEntries(4, "b", 6, 2, (), 5, 1))
    (answer,) = node.take()
    assert not answer.success
    assert (answer.hint_index, answer.hint_term) == (5, 2)


def test_a_restart_begins_with_the_snapshot():
    node = restarted(log_of(0, 0, 0, 0, 0, 3, 3)[5:], meta(5, 2, "abc", time_ms=5000))
    core = node.core
    assert (core.commit_index, core.applied_index, core.last_index) == (5, 5, 7)
    assert core.membership == of("abc"), "and not what a new cluster would begin with"
    assert core.membership_index == 0
    assert core.status(0).first_index == 6


def test_the_membership_of_the_entries_behind_it_is_in_force():
    entries = [*log_of(0, 0, 0, 0, 0, 3)[5:], membership_entry(7, 3, "abcd")]
    node = restarted(entries, meta(5, 2, "abc", membership_index=4))
    assert node.core.membership_index == 7
    node.receive(AppendEntries(4, "b", 6, 3, tuple(log_of(0, 0, 0, 0, 0, 0, 4)[6:]), 5, 1))
    assert (node.core.membership, node.core.membership_index) == (of("abc"), 4)


def test_a_membership_that_was_kept_and_is_covered_is_not_read_twice():
    disk = MemoryLog()
    disk.append(HardState(1), [membership_entry(1, 1, "abc"), membership_entry(2, 1, "abcd")])
    disk.compact(meta(2, 1, "abcd", membership_index=2), 1)
    node = start("a", disk, "abc", 2, **ON)
    assert (node.core.membership, node.core.membership_index) == (of("abcd"), 2)


def test_time_goes_on_from_the_snapshot():
    """Also where not one entry is left that would say what time it was."""
    node = restarted([], meta(5, 2, "a", time_ms=5000))
    node.tick()
    assert node.core.cluster_time_ms(node.now_ms) == 5000
    node.propose(b"x")
    assert all(one.time_ms >= 5000 for one in node.entries())


def test_votes_go_by_the_snapshot_where_the_log_is_empty():
    node = restarted([], meta(5, 2))
    node.receive(RequestVote(4, "b", 5, 1))
    node.receive(RequestVote(5, "c", 4, 2))
    node.receive(RequestVote(6, "b", 5, 2))
    granted = [answer.granted for answer in node.take(RequestVoteResponse)]
    assert granted == [False, False, True]


def test_what_was_covered_and_kept_is_applied_again_where_the_state_machine_lost_it():
    disk = MemoryLog()
    disk.append(HardState(1), log_of(1, 1, 1, 1))
    disk.compact(meta(4), 1)
    node = start("a", disk, "abc", 1, **ON)
    node.pump()
    assert [one.index for one in node.applied] == [2, 3, 4]


def test_a_state_machine_older_than_what_is_kept_has_to_be_replaced_first():
    with pytest.raises(InvariantViolation, match="lost or restored"):
        restarted([], meta(5, 2), applied_index=4)


def test_a_log_with_a_gap_refuses_to_start():
    class Gap(MemoryLog):
        snapshot = meta(3)

    disk = Gap()
    disk.reset(meta(5))
    with pytest.raises(InvariantViolation, match="between them is lost"):
        start("a", disk, "abc", 5, **ON)


def test_a_restart_counts_what_the_log_holds_since():
    entries = [Entry(i, 3, EntryKind.COMMAND, 0, b"x" * 400) for i in range(6, 12)]
    node = restarted(entries, meta(5, 2), applied_index=9, snapshot_log_bytes=1000)
    node.pump()
    assert node.wanted == [TakeSnapshot(9)]
    node = restarted(entries, meta(5, 2), applied_index=7, snapshot_log_bytes=1000)
    node.pump()
    assert node.wanted == [], "what is behind has not been applied"


def began_before_its_snapshot(**options):
    """The newest snapshot, up to 4, was passed over; the state machine began at 1."""
    disk = MemoryLog()
    disk.append(HardState(1), log_of(1, 1, 1, 1, 1))
    disk.compact(meta(4), 1)
    node = start("a", disk, "abc", 1, **ON | {"snapshot_log_bytes": 1 << 20} | options)
    node.pump()
    return node


def test_a_snapshot_that_could_not_be_begun_with_is_replaced_as_soon_as_there_is_more():
    node = began_before_its_snapshot()
    assert (node.core.applied_index, node.wanted) == (4, [])
    node.receive(Heartbeat(1, "b", 5, 1))
    assert node.wanted == [TakeSnapshot(5)]
    node.core.snapshot_failed(node.now_ms)
    node.wanted.clear()
    node.now_ms += 10 * ELECTION_MS
    node.receive(Heartbeat(1, "b", 5, 2))
    assert node.wanted == [TakeSnapshot(5)], "again"
    node.take_snapshot()
    node.now_ms += 10 * ELECTION_MS
    node.receive(AppendEntries(1, "b", 5, 1, (entry(6, 1),), 6, 1))
    assert node.wanted == [], "the new one is as good as any"


@pytest.mark.parametrize("options", [{"snapshot_log_bytes": 0}, {"snapshots": False}])
def test_but_not_where_the_driver_takes_snapshots_when_it_likes(options):
    node = began_before_its_snapshot(**options)
    node.receive(Heartbeat(1, "b", 5, 1))
    assert (node.core.applied_index, node.wanted) == (5, [])


def test_a_log_that_holds_everything_sends_a_new_member_everything():
    disk = MemoryLog()
    disk.append(HardState(1), log_of(1, 1, 1))
    disk.compact(meta(2), 0)
    node = elected(start("a", disk, "abc", 3, **ON), "bc")
    lags(node, "b", 0, 0)
    message = node.take(AppendEntries, "b")[-1]
    assert (message.prev_log_index, [one.index for one in message.entries]) == (0, [1, 2, 3])
    assert node.to_send == []


def test_the_term_before_the_first_entry_that_was_kept_need_not_be_known():
    """It is known in the process that compacted, and forgotten at a restart."""
    disk = MemoryLog()
    disk.append(HardState(2), log_of(1, 1, 1, 2, 2))
    disk.compact(meta(4, 2), 2)
    node = start("a", disk, "a", 5, **ON)
    assert node.core._node.log.first_index == 4
    assert node.core._node.log.term(3) == 1


# ---------------------------------------------------------------- log and snapshot at a start


def log_with(*terms, term=2):
    disk = MemoryLog()
    disk.append(HardState(term, "b"), log_of(*terms))
    return disk


def test_a_snapshot_newer_than_the_whole_log_takes_its_place():
    disk = log_with(1, 1)
    align(disk, meta(5, 2))
    assert (disk.snapshot, disk.first_index, disk.last_index) == (meta(5, 2), 6, 5)
    assert disk.hard_state == HardState(2, "b"), "its vote stays"


def test_a_log_that_holds_something_else_there_is_discarded():
    disk = log_with(1, 1, 1, 1, 1, 1, 1)
    align(disk, meta(5, 2))
    assert (disk.first_index, disk.last_index) == (6, 5)


def test_a_log_that_goes_on_from_it_is_kept():
    disk = log_with(1, 1, 2, 2)
    align(disk, meta(3, 2))
    align(disk, None)
    assert (disk.snapshot, disk.first_index, disk.last_index) == (None, 1, 4)


def test_an_older_snapshot_is_nothing_to_a_log():
    disk = log_with(1, 1, 2, 2)
    disk.compact(meta(4, 2), 4)
    align(disk, meta(3, 2))
    assert disk.snapshot == meta(4, 2)


def test_a_term_that_was_not_heard_of_is_written_before_its_entries():
    disk = log_with(1, 1, term=1)
    align(disk, meta(5, 2))
    assert disk.hard_state == HardState(2)
    start("a", disk, "abc", 5, **ON)


def test_a_leader_with_nothing_but_a_snapshot_leads():
    node = restarted([], meta(5, 2, "a"))
    node.tick()
    assert node.core.commit_index == node.core.last_index == 6
    assert node.take(Heartbeat) == []
