"""Whole clusters whose logs are compacted: nobody can tell from what they have applied."""

from __future__ import annotations

import random

import pytest

from raftcore import AddLearner, Membership, Promote, ReadReady, Remove, Role, trace
from raftcore.messages import Snapshot
from raftcore.trace import replay
from tests.core.changing import of
from tests.core.cluster import ELECTION_MS, member
from tests.core.snapshots import SnapshotCluster
from tests.core.test_trace import Tape


def alike(cluster):
    """All state machines hold the same, without gaps."""
    first, *others = cluster.states()
    assert [one.index for one in first] == list(range(1, len(first) + 1))
    return all(list(other) == list(first) for other in others)


def behind(names="abc", **config):
    """A cluster whose node `c` was cut off while all the others compacted what it lacks."""
    cluster = SnapshotCluster(names, **config)
    cluster.elect()
    if cluster.leader.name == "c":
        cluster.leader.core.transfer_leadership("a", cluster.now_ms)
        cluster.run(lambda: cluster["a"].role is Role.LEADER)
    cluster.cut = {"c"}
    cluster.write(40)
    assert cluster.leader.core._node.log.first_index > cluster["c"].core.last_index + 1
    return cluster


def test_logs_stay_short_and_everybody_has_everything():
    cluster = SnapshotCluster()
    cluster.elect()
    cluster.write(100)
    cluster.run_for(ELECTION_MS)
    assert alike(cluster)
    assert all(len(node.entries()) < 20 for node in cluster.members.values())
    assert cluster.sent == 0, "nobody was behind"


def test_a_follower_that_was_away_too_long_is_brought_back():
    cluster = behind()
    cluster.cut = set()
    cluster.elect()
    cluster.write(5)
    cluster.run_for(ELECTION_MS)
    assert cluster.sent == 1
    assert len(cluster["c"].installs) == 1
    assert alike(cluster)


def test_normal_operation_goes_on_while_a_snapshot_is_on_its_way():
    cluster = behind()
    cluster.cut, cluster.stuck = set(), {"c"}
    cluster.elect()
    term = cluster.leader.core.current_term
    cluster.write(60)
    cluster.run_for(5 * ELECTION_MS)
    assert cluster.leader.core.current_term == term
    assert len(cluster.leader.applied) > 100
    cluster.stuck = set()
    cluster.run_for(ELECTION_MS)
    assert cluster.sent == 1, "what follows it had been kept"
    assert alike(cluster)


def test_a_snapshot_that_fails_is_sent_again():
    cluster = behind()
    cluster.cut, cluster.stuck = set(), {"c"}
    cluster.elect()
    cluster.cut = {"c"}
    cluster.stuck = set()
    cluster.settle()
    assert cluster.sent == 0
    cluster.cut = set()
    cluster.run_for(3 * ELECTION_MS)
    assert cluster.sent == 1
    assert alike(cluster)


def test_the_leader_changes_while_one_is_on_its_way():
    cluster = behind()
    cluster.cut, cluster.stuck = set(), {"c"}
    first = cluster.elect()
    cluster.run(lambda: bool(first.to_send))
    second = next(name for name in "ab" if name != first.name)
    first.core.transfer_leadership(second, cluster.now_ms)
    cluster.run(lambda: cluster[second].role is Role.LEADER)
    cluster.run(lambda: bool(cluster[second].to_send))
    cluster.stuck = set()
    cluster.run_for(ELECTION_MS)
    assert len(cluster["c"].installs) == 1, "that of the old leader, and no other after it"
    assert cluster[second].role is Role.LEADER
    assert alike(cluster)


def test_a_cluster_that_restarts_goes_on_from_its_snapshots():
    cluster = SnapshotCluster()
    cluster.elect()
    cluster.write(50)
    cluster.run_for(ELECTION_MS)
    for node in list(cluster.members.values()):
        cluster.restart(node)
    before = len(cluster["a"].applied)
    cluster.elect()
    cluster.write(30)
    cluster.run_for(ELECTION_MS)
    assert alike(cluster)
    assert len(cluster["a"].applied) > before + 30


def test_a_new_node_gets_the_state_and_becomes_a_voter():
    cluster = SnapshotCluster()
    cluster.elect()
    cluster.write(50)
    cluster.members["d"] = member("d", "", now_ms=cluster.now_ms, **cluster.config)
    cluster.change(AddLearner("d"))
    cluster.catch_up("d")
    assert cluster.sent == 1
    cluster.change(Promote("d"))
    cluster.run_for(ELECTION_MS)
    assert cluster.everywhere(of("abcd"), "abcd")
    assert alike(cluster)


def test_changes_of_membership_are_not_lost_with_the_entries_that_held_them():
    cluster = behind("abcd")
    cluster.change(Remove("d"))
    cluster.write(40)
    assert cluster.leader.core.membership_index < cluster.leader.core._node.log.first_index
    cluster.cut = set()
    del cluster.members["d"]
    cluster.elect()
    cluster.run_for(ELECTION_MS)
    assert cluster["c"].core.membership == Membership(frozenset("abc"), removed=frozenset("d"))
    assert len(cluster["c"].installs) == 1
    assert alike(cluster)


def test_a_read_shows_what_a_snapshot_brought():
    cluster = behind()
    cluster.cut = set()
    cluster.elect()
    committed = cluster.leader.core.commit_index
    cluster.run_for(ELECTION_MS)
    read = cluster["c"].read()
    cluster.settle()
    outcome = cluster["c"].reads[read]
    assert isinstance(outcome, ReadReady)
    assert outcome.index >= committed
    assert cluster["c"].applied[-1].index >= outcome.index


@pytest.mark.parametrize("seed", range(4))
def test_a_lossy_network_only_costs_time(seed):
    rng = random.Random(seed)
    cluster = SnapshotCluster("abc", seed=seed)
    cluster.lose = lambda _sender, _send: rng.random() < 0.2
    for _ in range(12):
        cluster.run(lambda: bool(cluster.leaders))
        cluster.cut = set(rng.sample("abc", rng.randrange(2)))
        for _ in range(15):
            if cluster.leaders:
                rng.choice(cluster.leaders).propose(b"x" * 100)
            cluster.run_for(100)
        cluster.restart(cluster[rng.choice("abc")])
    cluster.cut, cluster.lose = set(), lambda _sender, _send: False
    cluster.elect()
    cluster.write(1)
    cluster.run_for(3 * ELECTION_MS)
    assert alike(cluster)
    assert cluster.sent


def test_a_trace_of_it_can_be_run_again():
    cluster, tapes = SnapshotCluster(), {}
    for name in "abc":
        tapes[name] = Tape(name)
        cluster.members[name] = member(name, trace=tapes[name].trace, **cluster.config)
    cluster.elect()
    cluster.cut = {next(name for name in "abc" if cluster[name] is not cluster.leader)}
    cluster.write(40)
    cluster.cut = set()
    cluster.elect()
    cluster.run_for(ELECTION_MS)
    assert cluster.sent == 1
    for name, tape in tapes.items():
        assert replay(tape).status(0).snapshot_index == cluster[name].core.status(0).snapshot_index
    kinds = "".join(line for tape in tapes.values() for line in tape)
    for kind in ("TakeSnapshot", "Compact", "SendSnapshot", "InstallSnapshot"):
        assert f'"is":"{kind}"' in kinds


def test_what_a_snapshot_stands_for_is_told_as_it_is():
    told = trace.decode(trace.encode(Snapshot(2, "a", 3, behind().leader.disk.snapshot)))
    assert told.meta.membership == of("abc")
