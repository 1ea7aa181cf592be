"""Snapshots of voters that keep no data: what they stand for, and nothing else."""

from __future__ import annotations

from raftcore import EntryKind
from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    RequestVote,
    RequestVoteResponse,
    Snapshot,
)
from raftcore.state.progress import ProgressState
from tests.core.changing import of, voter
from tests.core.cluster import acknowledge, answer_heartbeat, entry, member
from tests.core.snapshots import ON, elected, lags, progress_of, snapshot


def state_of(node, follower):
    return progress_of(node, follower).state


# ---------------------------------------------------------------- witnesses


def witnessed():
    """Leader `a`, voter `b`, witness `w`, and a log that is all in a snapshot; `w` holds little."""
    node = elected(voter("a", "abw", "w", **ON), "bw")
    acknowledge(node, "b")
    witnesses(node, 1)
    for _ in range(5):
        node.propose(b"x")
    acknowledge(node, "b")
    node.take_snapshot()
    node.take()
    return node


def witnesses(node, index):
    """The witness holds everything up to here."""
    session = progress_of(node, "w").session
    node.receive(AppendEntriesResponse(1, "w", session, True, index, witness=True))


def test_a_witness_gets_no_state_but_what_it_stands_for():
    node = witnessed()
    lags(node, "w", 1, 1)
    assert node.to_send == []
    message = node.take_one(Snapshot, "w")
    assert (message.meta.index, message.meta.membership) == (6, of("abw", witnesses="w"))
    assert message.meta.size == 0
    witnesses(node, 6)
    assert state_of(node, "w") is ProgressState.REPLICATE


def test_it_is_repeated_when_it_may_have_been_lost():
    node = witnessed()
    lags(node, "w", 1, 1)
    first = node.take_one(Snapshot, "w")
    node.propose(b"x")
    assert node.take(Snapshot, "w") == []
    for _ in range(2):
        node.tick()
        answer_heartbeat(node, "w")
        answer_heartbeat(node, "b")
    again = node.take_one(Snapshot, "w")
    assert again.session > first.session, "so that it is answered, whatever was before"
    assert node.take(AppendEntries, "w") == []


def test_a_witness_is_told_of_nothing_that_the_others_have_not_agreed_upon():
    """As with entries: or its vote could not be won any more when this leader dies."""
    disk = witnessed().disk
    node = elected(voter("a", "abw", "w", disk=disk, applied_index=6, **ON), "bw")
    node.take()
    for _ in range(3):
        node.tick()
        answer_heartbeat(node, "w")
    assert node.take_one(AppendEntries, "w").entries == (), "does it have the log?"
    lags(node, "w", 1, 1)
    assert node.take(Snapshot, "w") == [], "what the other has is not known yet"
    acknowledge(node, "b", 6)
    assert node.take_one(Snapshot, "w").meta.index == 6


# ---------------------------------------------------------------- as a witness


def test_a_witness_takes_it_as_any_message_and_has_no_state_to_wait_for():
    node = voter("w", "abw", "w", **ON)
    message = snapshot(5, 2, by="a", membership=of("abw", witnesses="w"))
    node.receive(message)
    assert [install.meta for install in node.installs] == [message.meta]
    (answer,) = node.take(AppendEntriesResponse)
    assert (answer.success, answer.match_index, answer.witness) == (True, 5, True)
    node.receive(AppendEntries(2, "a", 5, 2, (entry(6, 2, b"data"),), 5, 8))
    assert node.entries() == [entry(6, 2, kind=EntryKind.WITNESSED)]


def test_its_vote_goes_by_the_snapshot():
    node = voter("w", "abw", "w", **ON)
    node.receive(snapshot(5, 2, by="a", membership=of("abw", witnesses="w")))
    node.take()
    node.receive(RequestVote(3, "b", 4, 2))
    node.receive(RequestVote(4, "b", 5, 2))
    assert [answer.granted for answer in node.take(RequestVoteResponse)] == [False, True]


def test_nobody_else_takes_it_without_the_state():
    node = member("c", **ON)
    node.receive(snapshot(5, 2))
    assert node.installs == []
    assert node.take() == []


def test_a_witness_takes_it_though_its_own_log_is_never_compacted():
    """Otherwise it would wait for ever for what the leader has no more."""
    node = voter("w", "abw", "w")
    node.receive(snapshot(5, 2, by="a", membership=of("abw", witnesses="w")))
    (answer,) = node.take(AppendEntriesResponse)
    assert (answer.success, answer.match_index) == (True, 5)
    assert node.core.applied_index == 5


def test_a_witness_compacts_its_log_by_itself():
    """It has no state that a driver would have to keep."""
    node = voter("w", "abw", "w", **ON | {"snapshot_log_bytes": 640})
    entries = tuple(entry(i, 1, b"x" * 1000) for i in range(1, 12))
    node.receive(AppendEntries(1, "a", 0, 0, entries, 11, 1))
    node.pump()
    assert node.wanted == []
    (done,) = node.compactions
    assert (done.meta.index, done.meta.size, done.through) == (11, 0, 11)
    assert node.entries() == []


def test_a_witness_that_has_installed_does_so_again_only_when_its_log_has_grown():
    node = voter("w", "abw", "w", **ON | {"snapshot_log_bytes": 640})
    node.receive(snapshot(50, 2, by="a", membership=of("abw", witnesses="w")))
    entries = tuple(entry(i, 2) for i in range(51, 58))
    node.receive(AppendEntries(2, "a", 50, 2, entries, 57, 8))
    assert node.compactions == []
    entries = tuple(entry(i, 2) for i in range(58, 64))
    node.receive(AppendEntries(2, "a", 57, 2, entries, 63, 8))
    node.pump()
    assert [done.meta.index for done in node.compactions] == [63]
