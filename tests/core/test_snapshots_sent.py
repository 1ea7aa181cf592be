"""A leader sending snapshots (paper §7)."""

from __future__ import annotations

import pytest

from raftcore import (
    AddLearner,
    ChangeRefused,
    Promote,
    Remove,
    Role,
    SendSnapshot,
    TransferRefused,
)
from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    RequestVoteResponse,
    Snapshot,
    TimeoutNow,
)
from raftcore.state.progress import ProgressState
from tests.core.cluster import (
    ELECTION_MS,
    acknowledge,
    answer_heartbeat,
    leader,
    log_of,
    start,
)
from tests.core.snapshots import (
    ON,
    compacted,
    compacted_and_sending,
    elected,
    lags,
    progress_of,
    report,
    sending,
)


def state_of(node, follower="b"):
    return progress_of(node, follower).state


# ---------------------------------------------------------------- when


def test_a_follower_that_needs_what_was_discarded_gets_a_snapshot_at_once():
    """ "This happens when the leader has already discarded the next log entry that it needs to send
    to a follower." """
    node = compacted()
    lags(node)
    effect = sending(node)
    assert effect.to == "b"
    assert effect.message == Snapshot(1, "a", progress_of(node).session, node.disk.snapshot)
    assert node.take(AppendEntries, "b") == []
    status = node.core.status(node.now_ms).members[1]
    assert (status.id, status.state, status.snapshot_index) == ("b", "snapshot", 6)
    assert status.paused


@pytest.mark.parametrize(("index", "term"), [(0, 0), (1, 1), (5, 1)])
def test_however_far_it_is_behind(index, term):
    node = compacted()
    lags(node, "b", index, term)
    assert sending(node).message.meta.index == 6


def test_one_that_is_just_not_behind_gets_entries():
    node = compacted()
    node.propose(b"x")
    node.take()
    lags(node, "b", 6, 1)
    assert node.take_one(AppendEntries, "b").prev_log_index == 6
    assert node.to_send == []


def test_one_whose_log_differs_there_gets_a_snapshot():
    node = leader(entries=log_of(1, 1, 3), term=4, settled=False, **ON)
    acknowledge(node, "c")
    node.take_snapshot()
    lags(node, "b", 3, 2)
    assert sending(node).message.meta.index == 4


def test_one_that_is_new_gets_it_too():
    node = compacted()
    node.core.change_membership([AddLearner("d")], node.now_ms)
    node.pump()
    lags(node, "d", 0, 0)
    assert sending(node).to == "d"


def test_one_that_is_not_there_gets_it_when_it_is():
    node = compacted()
    lags(node)
    report(node, sending(node), ok=False)
    node.to_send.clear()
    node.now_ms += 2 * ELECTION_MS
    answer_heartbeat(node, "c")
    assert node.to_send == [], "it has not been heard for too long"
    answer_heartbeat(node, "b")
    assert sending(node).to == "b"


def test_a_window_that_is_compacted_away_is_a_snapshot_too():
    node = leader(**ON | {"inflight_max": 1})
    for _ in range(6):
        node.propose(b"x")
    acknowledge(node, "c")
    acknowledge(node, "c")
    answer_heartbeat(node, "b")
    node.take_snapshot()
    assert sending(node).to == "b"


def test_without_snapshots_nothing_that_a_driver_does_not_know_reaches_it():
    disk = compacted().disk
    node = elected(start("a", disk, applied_index=disk.last_index), "bc")
    node.take()
    lags(node, "b", 0, 0)
    assert node.to_send == []
    assert node.take(AppendEntries, "b") == []


def test_it_leaves_once_the_leaders_term_is_on_disk():
    disk = compacted().disk
    node = start("a", disk, "abc", disk.last_index, **ON)
    node.slow_disk = True
    elected(node, "bc")
    lags(node, "b", 0, 0)
    assert node.to_send == [], "others elected it before its own disk knew of it"
    node.write_and_pump()
    assert sending(node).to == "b"


# ---------------------------------------------------------------- meanwhile


def test_no_entries_are_sent_and_heartbeats_go_on():
    node = compacted_and_sending()
    for _ in range(5):
        node.propose(b"x")
        node.tick()
        answer_heartbeat(node, "b")
        answer_heartbeat(node, "c")
    assert node.take(AppendEntries, "b") == []
    beats = node.take(Heartbeat, "b")
    assert len(beats) == 5
    assert {beat.leader_commit for beat in beats} == {1}, "no more than it holds"


def test_one_is_sent_at_a_time_and_a_newer_one_is_not_forced_on_it():
    node = compacted_and_sending()
    for _ in range(3):
        node.propose(b"x")
    acknowledge(node, "c")
    node.tick()
    answer_heartbeat(node, "b")
    node.take_snapshot()
    lags(node, "b", 1, 1)
    assert sending(node).message.meta.index == 6


def test_one_that_is_getting_a_snapshot_keeps_its_leader_in_office():
    node = compacted_and_sending()
    for _ in range(20):
        node.tick()
        answer_heartbeat(node, "b")
    assert node.role is Role.LEADER


def test_a_leader_that_commits_nothing_meanwhile_stays_in_office():
    """Its only other voter is getting a snapshot; another leader would have to begin again."""
    node = compacted_and_sending(commit_stall_ms=3000)
    node.propose(b"x")
    while node.now_ms < 10_000:
        node.tick()
        answer_heartbeat(node, "b")
    assert node.role is Role.LEADER
    report(node, sending(node), ok=False)
    node.tick()
    assert node.role is Role.FOLLOWER, "that came to nothing, and nothing else has moved"


def test_leadership_is_not_handed_to_it():
    node = compacted_and_sending()
    with pytest.raises(TransferRefused, match="snapshot") as caught:
        node.core.transfer_leadership("b", node.now_ms)
    assert caught.value.reason == "snapshot"
    node.tick()
    answer_heartbeat(node, "b")
    with pytest.raises(TransferRefused, match="No other voter"):
        node.core.transfer_leadership(None, node.now_ms)
    answer_heartbeat(node, "c")
    node.core.transfer_leadership(None, node.now_ms)
    node.pump()
    assert node.take(TimeoutNow, "c")


def test_nor_because_of_its_priority():
    node = compacted()
    node.tick()
    for name in "bc":
        sequence = node.core._node.leading.sequence
        node.receive(HeartbeatResponse(1, name, sequence, priority=9 if name == "b" else 1))
    node.propose(b"x")
    acknowledge(node, "c")
    node.take_snapshot()
    lags(node)
    while node.now_ms < 6 * ELECTION_MS:
        node.tick()
        sequence = node.core._node.leading.sequence
        node.receive(HeartbeatResponse(1, "b", sequence, priority=9))
    assert not node.core.status(node.now_ms).transferring


def test_a_learner_is_not_promoted_meanwhile():
    node = compacted()
    node.core.change_membership([AddLearner("d")], node.now_ms)
    node.pump()
    acknowledge(node, "c")
    progress = progress_of(node, "d")
    acknowledge(node, "d")
    assert progress.caught_up(node.now_ms, node.core._node.config), "short rounds so far"
    progress.send_snapshot(9, progress.session)
    with pytest.raises(ChangeRefused) as caught:
        node.core.change_membership([Promote("d")], node.now_ms)
    assert caught.value.reason == "not caught up"


# ---------------------------------------------------------------- how it ends


def test_one_that_has_arrived_is_probed():
    node = compacted_and_sending()
    node.propose(b"x")
    node.propose(b"x")
    report(node, sending(node))
    message = node.take_one(AppendEntries, "b")
    assert (message.prev_log_index, len(message.entries)) == (6, 2)
    node.propose(b"x")
    assert node.take(AppendEntries, "b") == [], "one message at a time, until it answers"
    acknowledge(node, "b", 8)
    assert state_of(node) is ProgressState.REPLICATE
    assert node.take_one(AppendEntries, "b").prev_log_index == 8


def test_a_follower_that_does_not_have_it_after_all_gets_it_again():
    node = compacted_and_sending()
    report(node, sending(node))
    node.to_send.clear()
    node.propose(b"x")
    lags(node)
    assert sending(node).message.meta.index == 6


def test_one_that_failed_is_sent_again_after_a_pause():
    node = compacted_and_sending()
    report(node, sending(node), ok=False)
    node.to_send.clear()
    assert state_of(node) is ProgressState.PROBE
    node.tick()
    answer_heartbeat(node, "b")
    assert node.to_send == []
    due_ms = node.now_ms + ELECTION_MS
    while node.now_ms < due_ms:
        node.tick()
        answer_heartbeat(node, "b")
    assert sending(node).to == "b"


def test_and_then_it_is_the_newest():
    node = compacted_and_sending()
    for _ in range(3):
        node.propose(b"x")
    acknowledge(node, "c")
    node.take_snapshot()
    report(node, sending(node), ok=False)
    node.to_send.clear()
    node.now_ms += ELECTION_MS
    answer_heartbeat(node, "b")
    assert sending(node).message.meta.index == 9


def test_an_acknowledgement_that_reaches_the_log_ends_it():
    """Whatever brought it there; nothing else may ever come to say so."""
    node = compacted_and_sending()
    node.propose(b"x")
    acknowledge(node, "b", 6)
    assert state_of(node) is ProgressState.REPLICATE
    assert node.take_one(AppendEntries, "b").prev_log_index == 6


def test_one_that_does_not_changes_nothing():
    node = compacted_and_sending()
    session = sending(node).message.session
    acknowledge(node, "b", 5)
    assert state_of(node) is ProgressState.SNAPSHOT
    assert sending(node).message.session == session, "it is not begun again"
    assert progress_of(node).match_index == 5
    assert node.take(AppendEntries, "b") == []


@pytest.mark.parametrize("ok", [True, False])
def test_a_report_that_comes_late_is_ignored(ok):
    node = compacted_and_sending()
    effect = sending(node)
    acknowledge(node, "b", 6)
    report(node, effect, ok=ok)
    assert state_of(node) is ProgressState.REPLICATE


@pytest.mark.parametrize("ok", [True, False])
def test_a_report_of_an_earlier_attempt_is_ignored(ok):
    node = compacted_and_sending()
    earlier = sending(node)
    report(node, earlier, ok=False)
    node.to_send.clear()
    node.now_ms += ELECTION_MS
    answer_heartbeat(node, "b")
    assert sending(node).message.session > earlier.message.session
    report(node, earlier, ok=ok)
    assert state_of(node) is ProgressState.SNAPSHOT


def test_a_report_of_an_earlier_term_is_ignored():
    node = compacted_and_sending()
    effect = sending(node)
    node.receive(RequestVoteResponse(2, "c", granted=False))
    assert node.role is Role.FOLLOWER
    report(node, effect)
    assert node.role is Role.FOLLOWER
    node.to_send.clear()
    elected(node, "bc")
    lags(node)
    assert sending(node).message.term == 3
    stale = SendSnapshot("b", Snapshot(1, "a", progress_of(node).session, effect.message.meta), 0)
    report(node, stale)
    assert state_of(node) is ProgressState.SNAPSHOT


def test_a_report_of_somebody_who_was_removed_is_ignored():
    node = compacted_and_sending()
    node.core.change_membership([Remove("b")], node.now_ms)
    node.pump()
    report(node, sending(node))
    assert node.role is Role.LEADER


def test_a_leader_that_steps_down_before_its_driver_looks_sends_nothing():
    node = compacted()
    progress = progress_of(node)
    node.core.receive(AppendEntriesResponse(1, "b", progress.session, False, 0, 6, 1, 1), 0)
    node.core.receive(RequestVoteResponse(2, "c", granted=False), 0)
    node.pump()
    assert node.to_send == []
