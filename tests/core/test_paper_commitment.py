"""Paper §5.3, §5.4.2 and §8: when an entry is committed."""

from __future__ import annotations

import pytest

from raftcore import EntryKind
from raftcore.messages import AppendEntries, AppendEntriesResponse, Heartbeat
from tests.core.cluster import Cluster, acknowledge, leader, log_of, member


def test_an_entry_is_committed_once_a_majority_holds_it():
    # "A log entry is committed once the leader that created the entry has replicated it on a
    # majority of the servers" (§5.3).
    node = leader(voters="abcde")
    node.propose(b"x")
    acknowledge(node, "b")
    assert node.core.commit_index == 1
    acknowledge(node, "c")
    assert node.core.commit_index == 2
    assert node.applied[-1].data == b"x"


def test_one_follower_counts_once_however_often_it_acknowledges():
    node = leader(voters="abcde")
    node.propose(b"x")
    for _ in range(4):
        acknowledge(node, "b")
    assert node.core.commit_index == 1


def test_learners_do_not_count():
    node = leader(voters="abc", learners="l")
    node.propose(b"x")
    acknowledge(node, "l")
    assert node.core.commit_index == 1


def test_figure_8_an_entry_of_an_earlier_term_is_not_committed_by_counting():
    # "Raft never commits log entries from previous terms by counting replicas.  Only log entries
    # from the leader's current term are committed by counting replicas" (§5.4.2).  The leader of
    # term 4 has an entry of term 2 on a majority; one of term 3 elsewhere could still replace it.
    node = leader(voters="abcde", entries=log_of(1, 2), term=3, settled=False)
    assert node.terms() == [1, 2, 4]
    acknowledge(node, "b", 2)
    acknowledge(node, "c", 2)
    assert node.core.commit_index == 0
    # "Once an entry from the current term has been committed in this way, then all prior entries
    # are committed indirectly."
    acknowledge(node, "b", 3)
    acknowledge(node, "c", 3)
    assert node.core.commit_index == 3
    assert [e.term for e in node.applied] == [1, 2, 4]


def test_a_new_leader_appends_an_entry_of_its_own_term():
    # "Each leader commit a blank no-op entry into the log at the start of its term" (§8): or what
    # is there would wait for somebody to write.
    node = leader(entries=log_of(1, 1))
    last = node.entries()[-1]
    assert (last.index, last.term, last.kind, last.data) == (3, 2, EntryKind.NOOP, b"")


def test_commit_index_is_recomputed_from_everybody():
    # Neither the order of acknowledgements nor how far each jumps makes a difference.
    node = leader(voters="abcde")
    for index in range(6):
        node.propose(b"%d" % index)
    acknowledge(node, "e", 7)
    acknowledge(node, "b", 3)
    assert node.core.commit_index == 3
    acknowledge(node, "c", 5)
    assert node.core.commit_index == 5
    acknowledge(node, "d", 4)
    assert node.core.commit_index == 5


def test_followers_learn_of_a_commit_at_once():
    # "The leader keeps track of the highest index it knows to be committed, and it includes that
    # index in future AppendEntries RPCs" (§5.3).
    node = leader()
    node.propose(b"x")
    node.take()
    acknowledge(node, "b")
    for voter in "bc":
        assert node.take_one(AppendEntries, voter).leader_commit == 2


def test_with_more_entries_the_news_of_a_commit_travels_along():
    node = leader()
    node.propose(b"x")
    node.take()
    node.core.propose(b"y", node.now_ms)
    acknowledge(node, "b", 2)
    message = node.take_one(AppendEntries, "b")
    assert (message.leader_commit, [e.data for e in message.entries]) == (2, [b"y"])


def test_news_of_a_commit_alone_is_not_answered():
    # It would be one more message per write, and says nothing new to anybody.
    node, follower = leader(settled=False), member("b")
    follower.receive(node.take_one(AppendEntries, "b"))
    node.receive(follower.take_one(AppendEntriesResponse))
    follower.receive(node.take_one(AppendEntries, "b"))
    assert follower.core.commit_index == 1
    assert follower.take() == []


@pytest.mark.parametrize("behind", [0, 1, 2])
def test_a_heartbeat_tells_a_follower_no_more_than_it_holds(behind):
    # A follower cannot check a heartbeat against its log: what the leader has committed may be
    # missing there, or be another entry.
    node = leader(voters="abcde")
    node.propose(b"x")
    node.propose(b"y")
    for voter in "bcd":
        acknowledge(node, voter, 3)
    acknowledge(node, "e", 3 - behind)
    node.take()
    node.tick()
    assert node.take_one(Heartbeat, "e").leader_commit == 3 - behind
    assert node.take_one(Heartbeat, "b").leader_commit == 3


def test_a_heartbeat_commits_what_the_follower_holds():
    follower = member("b", entries=log_of(1, 1, 1))
    follower.receive(Heartbeat(1, "a", 2, 1))
    assert [e.index for e in follower.applied] == [1, 2]


@pytest.mark.parametrize("seed", range(10))
def test_what_was_committed_stays_whoever_leads(seed):
    # Leader Completeness (Figure 3): crash the leader again and again.
    cluster = Cluster("abcde", seed=seed)
    written = []
    for round_ in range(4):
        node = cluster.elect()
        data = b"%d" % round_
        index, _ = node.propose(data)
        cluster.run(lambda node=node, index=index: node.core.commit_index >= index)
        written.append(data)
        node.propose(b"lost")
        node.take()
        cluster.cut = {node.name}
        cluster.elect()
        cluster.restart(node)
        cluster.cut = set()
    cluster.elect().propose(b"last")
    cluster.run_for(1000)
    logs = [
        [e.data for e in m.entries() if e.kind is EntryKind.COMMAND]
        for m in cluster.members.values()
    ]
    assert all(log == logs[0] for log in logs)
    assert [data for data in logs[0] if data in written] == written
