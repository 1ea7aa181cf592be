"""A node's own snapshots: when, of what, and what goes then (paper §7, thesis §5.1)."""

from __future__ import annotations

import pytest

from raftcore import (
    Compact,
    Config,
    Entry,
    EntryKind,
    InvariantViolation,
    SnapshotMeta,
    TakeSnapshot,
)
from raftcore.messages import AppendEntries
from tests.core.changing import of
from tests.core.cluster import (
    ELECTION_MS,
    acknowledge,
    answer_heartbeat,
    leader,
    log_of,
    member,
    membership_entry,
)
from tests.core.snapshots import (
    ON,
    compacted,
    compacted_and_sending,
    meta,
    report,
    sending,
)

ASKS = ON | {"snapshot_log_bytes": 1000}


def alone(**config):
    """A leader that commits by itself, so that what is proposed is applied."""
    return leader("a", "a", **ASKS | config)


def fill(node, count=10):
    for _ in range(count):
        node.propose(b"x" * 100)


# ---------------------------------------------------------------- when


def test_a_snapshot_is_asked_for_when_the_log_reaches_a_fixed_size_in_bytes():
    """ "One simple strategy is to take a snapshot when the log reaches a fixed size in bytes." """
    node = alone()
    fill(node, 5)
    assert node.wanted == []
    fill(node, 5)
    assert len(node.wanted) == 1


def test_it_covers_just_what_was_applied():
    """ "Each server takes snapshots independently, covering just the committed entries in its log." """
    node = leader(**ASKS)
    fill(node, 20)
    assert node.wanted == [], "nothing of it is committed"
    acknowledge(node, "b", 15)
    assert node.wanted == [TakeSnapshot(15)]
    beyond = meta(16)
    with pytest.raises(InvariantViolation, match="15 handed out"):
        node.core.snapshot_taken(beyond, node.now_ms)
    with pytest.raises(InvariantViolation, match="15 handed out"):
        node.core.snapshot_meta(16)


def test_followers_take_their_own():
    node = member("b", **ASKS)
    entries = tuple(Entry(i, 1, EntryKind.COMMAND, i, b"x" * 100) for i in range(1, 11))
    node.receive(AppendEntries(1, "a", 0, 0, entries, leader_commit=10, session=1))
    assert node.wanted == [TakeSnapshot(10)]


def test_one_is_asked_for_at_a_time():
    node = alone()
    fill(node, 30)
    assert len(node.wanted) == 1
    node.take_snapshot()
    assert node.wanted == []
    fill(node, 10)
    (asked,) = node.wanted
    assert asked.index > 31


def test_what_was_applied_meanwhile_counts_for_the_next():
    node = alone()
    fill(node, 8)
    (asked,) = node.wanted
    early = node.core.snapshot_meta(asked.index)
    fill(node, 30)
    assert early is not None
    node.wanted.clear()
    node.core.snapshot_taken(early, node.now_ms)
    node.pump()
    assert node.wanted == [TakeSnapshot(39)]


def test_what_waits_in_the_state_machine_does_not_count():
    node = alone()
    node.slow_state = True
    fill(node, 30)
    assert node.wanted == []
    node.apply()
    node.pump()
    assert node.wanted == [TakeSnapshot(31)]


def test_a_request_that_failed_is_made_again_after_a_while():
    node = alone()
    fill(node)
    node.wanted.clear()
    node.core.snapshot_failed(node.now_ms)
    fill(node)
    assert node.wanted == [], "not at once: a full disk would be asked without end"
    node.now_ms += 10 * ELECTION_MS
    fill(node, 1)
    assert len(node.wanted) == 1


def test_normal_operation_goes_on_while_one_is_taken():
    """ "Writing a snapshot can take a significant amount of time, and we do not want this to delay
    normal operations." """
    node = alone()
    fill(node)
    applied = node.core.applied_index
    assert node.wanted
    node.propose(b"more")
    assert node.core.applied_index == applied + 1


def test_a_driver_may_take_one_when_it_likes():
    node = alone(snapshot_log_bytes=0)
    fill(node, 100)
    assert node.wanted == []
    node.take_snapshot()
    assert node.compactions


def test_without_snapshots_none_is_asked_for_and_none_is_accepted():
    node = leader("a", "a", snapshot_log_bytes=1000)
    fill(node, 100)
    assert node.wanted == []
    with pytest.raises(ValueError, match="off"):
        node.core.snapshot_taken(meta(1), node.now_ms)


@pytest.mark.parametrize("name", ["snapshot_log_bytes", "snapshot_trailing_entries"])
def test_what_cannot_be_negative(name):
    with pytest.raises(ValueError, match=name):
        Config("a", **{name: -1})


def test_status_says_how_far_it_is():
    node = alone()
    fill(node, 5)
    status = node.core.status(node.now_ms)
    assert (status.snapshot_index, status.snapshot_asked) == (0, False)
    assert 500 <= status.snapshot_behind_bytes <= 1000
    fill(node, 5)
    assert node.core.status(node.now_ms).snapshot_asked
    node.take_snapshot()
    status = node.core.status(node.now_ms)
    assert (status.snapshot_index, status.snapshot_asked) == (11, False)
    assert status.snapshot_behind_bytes == 0


# ---------------------------------------------------------------- of what


def test_it_names_the_last_entry_that_it_replaces():
    """ "The last included index is the index of the last entry in the log that the snapshot
    replaces (the last entry the state machine had applied), and the last included term is the term
    of this entry." """
    node = leader("a", "a", entries=log_of(1, 1, 2), **ON)
    node.propose(b"x")
    taken = node.take_snapshot()
    assert (taken.index, taken.term) == (5, 3)
    assert taken.time_ms == node.applied[-1].time_ms
    assert taken.size == len(node.applied)


def test_it_holds_the_latest_configuration_as_of_its_index():
    """ "The snapshot also includes the latest configuration in the log as of last included index." """
    entries = [membership_entry(1, 1, "a"), *log_of(1, 1)[1:], membership_entry(3, 1, "ab")]
    node = member("a", entries=[*entries, *log_of(1, 1, 1, 1)[3:]], applied_index=4, **ON)
    found = node.core.snapshot_meta(4)
    assert found == SnapshotMeta(4, 1, 0, of("ab"), membership_index=3)
    earlier = node.core.snapshot_meta(2)
    assert earlier == SnapshotMeta(2, 1, 0, of("a"), membership_index=1), "not the later one"


def test_of_nothing_there_is_no_snapshot():
    assert member("a", **ON).core.snapshot_meta(0) is None


def test_what_the_newest_one_stands_for_is_still_known():
    node = compacted()
    assert node.core.snapshot_meta(6) == node.disk.snapshot
    assert node.core.snapshot_meta(5) is None, "forgotten"


# ---------------------------------------------------------------- what goes


def test_entries_up_to_the_last_included_index_are_deleted():
    """ "Once a server completes writing a snapshot, it may delete all log entries up through the
    last included index." """
    node = alone()
    fill(node, 5)
    assert node.compactions == []
    taken = node.take_snapshot()
    assert node.compactions == [Compact(taken, through=6)]
    assert node.disk.snapshot == taken
    assert node.entries() == []
    assert node.core.last_index == 6
    node.propose(b"x")
    assert [one.index for one in node.entries()] == [7]


def test_some_entries_before_it_are_kept_for_followers_that_lag_a_little():
    node = alone(snapshot_trailing_entries=2)
    fill(node, 5)
    assert node.take_snapshot().index == 6
    assert node.compactions[0].through == 4
    assert node.core._node.log.first_index == 5


def test_a_log_shorter_than_what_is_kept_loses_nothing():
    node = alone(snapshot_trailing_entries=100)
    fill(node, 5)
    taken = node.take_snapshot()
    assert node.compactions == [Compact(taken, through=0)]
    assert len(node.entries()) == 6


def test_a_follower_that_lags_less_gets_entries():
    node = leader(**ON | {"snapshot_trailing_entries": 3})
    for _ in range(5):
        node.propose(b"x")
    acknowledge(node, "c")
    node.take_snapshot()
    node.take()
    progress = node.core._node.leading.progress["b"]
    progress.probe(4, progress.session)
    node.pump()
    assert node.take_one(AppendEntries, "b").prev_log_index == 3
    assert node.to_send == []


def test_an_older_snapshot_changes_nothing():
    node = compacted()
    count = len(node.compactions)
    node.core.snapshot_taken(meta(3), node.now_ms)
    node.core.snapshot_taken(node.disk.snapshot, node.now_ms)
    node.pump()
    assert len(node.compactions) == count


def test_a_snapshot_of_another_log_stops_the_node():
    node = alone()
    fill(node, 5)
    with pytest.raises(InvariantViolation, match="no snapshot of this log"):
        node.core.snapshot_taken(meta(3, term=9), node.now_ms)


def test_what_follows_a_snapshot_on_its_way_is_kept():
    """Or the follower would need another one as soon as it has arrived."""
    node = compacted_and_sending()
    for _ in range(5):
        node.propose(b"x")
    acknowledge(node, "c")
    node.tick()
    answer_heartbeat(node, "b")
    taken = node.take_snapshot()
    assert node.compactions[-1] == Compact(taken, through=6)


def test_until_it_is_acknowledged():
    node = compacted_and_sending()
    node.tick()
    answer_heartbeat(node, "b")
    report(node, sending(node))
    for _ in range(5):
        node.propose(b"x")
    acknowledge(node, "c")
    node.take_snapshot()
    assert node.compactions[-1].through == 6
    acknowledge(node, "b")
    node.take_snapshot()
    node.propose(b"x")
    acknowledge(node, "c")
    assert node.take_snapshot().index == node.compactions[-1].through == 12


def test_but_not_for_one_that_has_gone_silent():
    node = compacted_and_sending()
    for _ in range(5):
        node.propose(b"x")
    acknowledge(node, "c")
    taken = node.take_snapshot()
    assert node.compactions[-1] == Compact(taken, through=11)
