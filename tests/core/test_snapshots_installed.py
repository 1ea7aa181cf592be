"""A follower that is brought up to date by a snapshot (paper §7, Figure 13)."""

from __future__ import annotations

import pytest

from raftcore import (
    HardState,
    InstallSnapshot,
    InvariantViolation,
    Persist,
    ReadReady,
    Role,
)
from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
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
    candidate,
    entry,
    leader,
    log_of,
)
from tests.core.snapshots import ON, follower, snapshot

STATE = [entry(i, 1, b"%d" % i) for i in range(1, 6)]


# ---------------------------------------------------------------- what becomes of the log


@pytest.mark.parametrize("terms", [(), (1, 1), (1, 1, 1, 1, 1), (1, 1, 1, 1, 1, 1, 1)])
def test_a_log_that_does_not_have_its_last_entry_is_discarded(terms):
    """ "The follower discards its entire log; it is all superseded by the snapshot and may possibly
    have uncommitted entries that conflict with the snapshot." """
    node = follower(*terms)
    assert node.snapshot_arrives(snapshot(5, 2), STATE)
    core = node.core
    assert (core.last_index, core.commit_index, core.applied_index) == (5, 5, 5)
    assert (node.disk.first_index, node.disk.last_index) == (6, 5)
    assert node.applied == STATE
    status = core.status(0)
    assert (status.snapshot_index, status.last_term, status.installing_index) == (5, 2, 0)


def test_entries_that_follow_it_are_retained():
    """ "If instead the follower receives a snapshot that describes a prefix of its log, [...]
    entries following the snapshot are still valid and must be retained." """
    node = follower(1, 1, 1, 2, 2, 2, 2)
    assert not node.snapshot_arrives(snapshot(5, 2), STATE)
    assert node.installs == []
    assert (node.core.last_index, node.core.commit_index) == (7, 5)
    assert [one.index for one in node.applied] == [2, 3, 4, 5], "applied as any"
    (answer,) = node.take(AppendEntriesResponse)
    assert (answer.success, answer.match_index) == (True, 5)


@pytest.mark.parametrize("index", [2, 3])
def test_one_that_brings_nothing_new_is_not_installed(index):
    """Never over a higher commit index."""
    node = follower(1, 1, 1, applied_index=3)
    assert not node.snapshot_arrives(snapshot(index, 2, of_term=1))
    assert node.installs == []
    assert node.core.last_index == 3
    (answer,) = node.take(AppendEntriesResponse)
    assert (answer.success, answer.match_index, answer.session) == (True, 3, 7)


def test_entries_go_on_behind_it():
    node = follower(1)
    node.snapshot_arrives(snapshot(5, 2), STATE)
    node.receive(AppendEntries(2, "b", 5, 2, (entry(6, 2),), 6, 8))
    assert node.entries() == [entry(6, 2)]
    assert [one.index for one in node.applied] == [1, 2, 3, 4, 5, 6]


def test_it_is_the_state_that_is_applied_from_then_on():
    """Whoever waits for an entry in between has to be told that it never comes."""
    node = follower(1, 1, 1, applied_index=2)
    node.snapshot_arrives(snapshot(5, 2), STATE)
    (install,) = node.installs
    assert (install.meta.index, install.skipped_from) == (5, 3)
    assert node.applied == STATE


def test_a_newer_one_may_come_while_it_is_installed():
    node = follower(1)
    node.slow_state = True
    assert node.snapshot_arrives(snapshot(5, 2))
    assert node.snapshot_arrives(snapshot(9, 2))
    assert not node.snapshot_arrives(snapshot(7, 2))
    assert [(one.meta.index, one.skipped_from) for one in node.installs] == [(5, 2), (9, 6)]
    node.apply()
    assert (node.core.applied_index, node.core.status(0).installing_index) == (9, 0)


def test_of_two_at_once_only_the_newer_is_installed():
    node = follower(1)
    for index in (5, 9):
        node.snapshots[index] = ()
        assert node.core.snapshot_arrived(snapshot(index, 2), 0)
    node.pump()
    assert [(one.meta.index, one.skipped_from) for one in node.installs] == [(9, 2)]


def test_what_was_to_be_compacted_is_gone_with_the_log():
    node = follower(1, 1, 1, applied_index=3)
    found = node.core.snapshot_meta(3)
    assert found is not None
    node.core.snapshot_taken(found, 0)
    node.core.snapshot_arrived(snapshot(5, 2), 0)
    node.pump()
    assert node.compactions == []
    assert node.disk.snapshot == node.installs[0].meta


def test_a_snapshot_of_its_own_that_was_overtaken_is_ignored():
    node = follower(1, 1, 1, applied_index=3)
    found = node.core.snapshot_meta(3)
    assert found is not None
    node.snapshot_arrives(snapshot(5, 2), STATE)
    node.core.snapshot_taken(found, 0)
    node.pump()
    assert node.compactions == []
    assert node.core.snapshot_meta(4) is None


def test_a_log_is_not_put_back():
    log = follower(1, 1, 1, applied_index=3).core._node.log
    with pytest.raises(InvariantViolation, match="3 is committed"):
        log.restore(snapshot(3).meta)


# ---------------------------------------------------------------- the disk


def test_it_is_acknowledged_only_once_it_is_on_disk():
    node = follower(1)
    node.slow_disk = True
    node.snapshot_arrives(snapshot(5, 2), STATE)
    assert node.take() == []
    node.write_and_pump()
    (answer,) = node.take(AppendEntriesResponse)
    assert (answer.success, answer.match_index, answer.session) == (True, 5, 7)


def test_its_term_is_on_disk_before_it():
    node = follower(1, term=1)
    node.core.snapshot_arrived(snapshot(5, 3), 0)
    first, second, *_ = node.core.take_effects()
    assert first == Persist(HardState(3), (), 1)
    assert isinstance(second, InstallSnapshot)
    assert second.ticket == 2


def test_writes_keep_their_order():
    node = follower(1)
    node.slow_disk = True
    node.receive(AppendEntries(2, "b", 1, 1, (entry(2, 2),), 1, 1))
    node.snapshot_arrives(snapshot(5, 2), STATE)
    node.receive(AppendEntries(2, "b", 5, 2, (entry(6, 2),), 6, 8))
    kinds = [type(write) for write in node.unwritten]
    assert kinds == [Persist, InstallSnapshot, Persist]
    assert [write.ticket for write in node.unwritten] == [1, 2, 3]
    node.write_and_pump()
    assert node.entries() == [entry(6, 2)]


def test_a_write_of_the_old_log_says_nothing_of_the_new_one():
    node = follower(1)
    node.slow_disk = True
    node.receive(AppendEntries(2, "c", 1, 1, tuple(log_of(1, 2, 2, 2)[1:]), 1, 1))
    node.snapshot_arrives(snapshot(3, 3), STATE)
    node.receive(AppendEntries(3, "b", 3, 3, (entry(4, 3),), 4, 8))
    node.write_and_pump(1)
    assert node.core.status(0).stable_index == 1
    assert node.applied == []
    node.write_and_pump()
    assert node.core.status(0).stable_index == 4


def test_nothing_is_applied_behind_it_before_it_is_on_disk():
    node = follower(1)
    node.slow_disk = True
    node.snapshot_arrives(snapshot(5, 2), STATE)
    node.receive(AppendEntries(2, "b", 5, 2, (entry(6, 2),), 6, 8))
    assert node.applied == []
    node.write_and_pump()
    assert [one.index for one in node.applied] == [1, 2, 3, 4, 5, 6]


# ---------------------------------------------------------------- terms and votes


def test_a_leader_of_an_earlier_term_is_told():
    """ "Reply immediately if term < currentTerm" (Figure 13)."""
    node = follower(1, term=4)
    node.snapshot_arrives(snapshot(5, 2), STATE)
    (answer,) = node.take(AppendEntriesResponse)
    assert (answer.term, answer.success) == (4, False)


def test_and_its_snapshot_is_installed_all_the_same():
    """What it holds is committed, whoever leads by now; and it may have taken hours to come."""
    node = follower(1, term=4)
    assert node.snapshot_arrives(snapshot(5, 2), STATE)
    assert (node.core.last_index, node.core.current_term) == (5, 4)
    assert node.applied == STATE


def test_a_later_term_is_adopted():
    node = follower(1, term=1)
    node.snapshot_arrives(snapshot(5, 3), STATE)
    assert (node.core.current_term, node.core.leader) == (3, "b")
    assert node.disk.hard_state == HardState(3)


@pytest.mark.parametrize("term", [1, 2])
def test_a_candidate_gives_up(term):
    node = candidate(entries=log_of(1), term=1, **ON)
    node.snapshot_arrives(snapshot(5, term), STATE)
    assert node.role is Role.FOLLOWER
    assert node.core.leader == ("b" if term == 2 else None)
    node.receive(RequestVoteResponse(2, "b", granted=True))
    assert node.role is Role.FOLLOWER


def test_a_leader_has_no_use_for_one():
    node = leader(entries=log_of(1), term=2, **ON)
    assert not node.snapshot_arrives(snapshot(5, 2))
    assert node.role is Role.LEADER
    assert node.installs == []


def test_two_leaders_in_one_term_stop_the_node():
    node = leader(**ON)
    with pytest.raises(InvariantViolation, match="both lead"):
        node.snapshot_arrives(snapshot(5, 1))


def test_its_vote_stays():
    node = follower(1, term=2, voted_for="c")
    node.snapshot_arrives(snapshot(5, 2, by="c"), STATE)
    assert node.disk.hard_state == HardState(2, "c")
    node.receive(RequestVote(2, "b", 9, 2))
    assert node.take(RequestVoteResponse)[-1].granted is False


def test_it_votes_by_the_new_log():
    node = follower(1)
    node.slow_state = True
    node.snapshot_arrives(snapshot(5, 2), STATE)
    node.take()
    node.receive(RequestVote(3, "c", 4, 2))
    node.receive(RequestVote(4, "c", 5, 2))
    assert [answer.granted for answer in node.take(RequestVoteResponse)] == [False, True]


def test_it_is_no_sign_of_life_of_a_leader():
    """It may have left long before it arrived."""
    node = follower(1)
    node.receive(Heartbeat(2, "b", 1, 1))
    node.now_ms = ELECTION_MS
    node.snapshot_arrives(snapshot(5, 2), STATE)
    node.take()
    node.receive(PreVote(3, "c", 9, 2))
    assert node.take_one(PreVoteResponse).granted
    node.snapshot_arrives(snapshot(9, 3), STATE)
    node.take()
    node.receive(PreVote(4, "c", 9, 3))
    assert node.take_one(PreVoteResponse).granted


# ---------------------------------------------------------------- while it is installed


@pytest.mark.parametrize("slow", ["slow_disk", "slow_state"])
def test_nobody_campaigns_before_it_is_installed(slow):
    node = follower(1)
    setattr(node, slow, True)
    node.snapshot_arrives(snapshot(5, 2), STATE)
    assert node.core.status(0).installing_index == 5
    assert node.core.next_timer() is None
    node.now_ms = 10 * ELECTION_MS
    node.core.handle_timer(node.now_ms)
    node.receive(TimeoutNow(2, "b"))
    assert node.role is Role.FOLLOWER
    setattr(node, slow, False)
    node.write_and_pump()
    node.apply()
    node.receive(TimeoutNow(2, "b"))
    assert node.role is Role.CANDIDATE


def test_it_waits_for_a_leader_again_afterwards():
    node = follower(1)
    node.slow_state = True
    node.snapshot_arrives(snapshot(5, 2), STATE)
    node.apply()
    assert node.core.next_timer() is not None
    node.tick()
    assert node.role is Role.PRE_CANDIDATE


def test_it_follows_meanwhile():
    node = follower(1)
    node.slow_state = True
    node.snapshot_arrives(snapshot(5, 2), STATE)
    node.receive(Heartbeat(2, "b", 5, 9))
    node.receive(AppendEntries(2, "b", 5, 2, (entry(6, 2),), 6, 8))
    assert node.core.commit_index == 6
    assert node.applied == []
    node.apply()
    assert node.core.applied_index == 6


def test_reads_wait_for_it():
    node = follower(1)
    node.receive(Heartbeat(2, "b", 1, 1))
    read = node.read()
    request = node.take_one(ReadIndex).request
    node.slow_state = True
    node.snapshot_arrives(snapshot(5, 2), STATE)
    node.receive(ReadIndexResponse(2, "b", request, True, 4))
    assert node.reads == {}
    node.apply()
    node.pump()
    assert node.reads == {read: ReadReady(read, 4)}


def test_time_goes_on_from_it():
    node = follower(1)
    node.snapshot_arrives(snapshot(5, 2, time_ms=90_000), STATE)
    assert node.core.cluster_time_ms(node.now_ms) == 90_000
