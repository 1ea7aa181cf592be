"""Leases are answered while a worker has the write lock that applying them needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from raftdjango.applier import Applied
from raftdjango.right_of_way.lock_file import RightOfWay
from raftdjango.writeset import Verdict, VerdictKind
from tests.node.ground import Ground
from tests.node.nodes import GROUP, PATIENCE_S, Cluster, command, insert, make_table, wait_until

KEYS = "SELECT table_name, next_key FROM raftdjango_key"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(3) as cluster:
        cluster.start()
        cluster.leader()
        cluster.version = make_table(cluster.client("n1"))
        for node in cluster.nodes.values():
            # What is left of the forming is no lease, and would want the write lock.
            wait_until(lambda node=node: node.groups[GROUP].formation.is_complete, "completion")
        cluster.level()
        yield cluster


@contextmanager
def locked(cluster: Cluster, name: str) -> Iterator[None]:
    """Another connection has the write lock of this node's database."""
    with closing(sqlite3.connect(cluster.database(name), isolation_level=None)) as worker:
        worker.execute("BEGIN IMMEDIATE")
        yield


def right_of_way(cluster: Cluster, name: str) -> RightOfWay:
    return RightOfWay.open(cluster.settings(name).group_dir(GROUP))


def follower(cluster: Cluster) -> str:
    leader = cluster.leader()
    return next(name for name in cluster.names if name != leader)


def pending(cluster: Cluster, name: str) -> int:
    status = cluster.status(name)
    return status["commit_index"] - status["applied_index"]


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_several_leases_in_a_row_and_nobody_is_asked_to_give_way(cluster, role):
    name = cluster.leader() if role == "leader" else follower(cluster)
    other = next(each for each in cluster.names if each != name)
    client = cluster.client(name)
    given: list[int] = []
    with locked(cluster, name):
        for _ in range(3):
            given += client.lease_keys("note", 1000, timeout_s=PATIENCE_S)
        assert cluster.rows(name, KEYS) == []
        assert pending(cluster, name) >= 3
        assert right_of_way(cluster, name).waited_ms() == 0
        given += cluster.client(other).lease_keys("note", 10, timeout_s=PATIENCE_S)
    cluster.level()
    assert len(set(given)) == 3010
    for each in cluster.names:
        ((_, next_key),) = cluster.rows(each, KEYS)
        assert next_key > max(given)


def test_behind_an_entry_that_is_urgent(cluster):
    name = follower(cluster)
    client, elsewhere = cluster.client(name), cluster.client(cluster.leader())
    first = client.lease_keys("note", 1000, timeout_s=PATIENCE_S)
    with locked(cluster, name):
        proposal = command(insert(cluster.version, first[0], "from elsewhere"), client=elsewhere)
        elsewhere.propose(*proposal, timeout_s=PATIENCE_S)
        wait_until(lambda: right_of_way(cluster, name).waited_ms(), "the applier's announcement")
        second = client.lease_keys("note", 5000, timeout_s=PATIENCE_S)
        assert not set(first) & set(second)
        assert cluster.rows(name) == []
    cluster.level()
    assert cluster.rows(name) == [(first[0], "from elsewhere")]
    assert right_of_way(cluster, name).waited_ms() == 0


def test_an_urgent_entry_behind_leases_is_announced(cluster):
    name = cluster.leader()
    client, elsewhere = cluster.client(name), cluster.client(follower(cluster))
    with locked(cluster, name):
        client.lease_keys("note", 1000, timeout_s=PATIENCE_S)
        proposal = command(insert(cluster.version, 1, "from elsewhere"), client=elsewhere)
        elsewhere.propose(*proposal, timeout_s=PATIENCE_S)
        wait_until(lambda: right_of_way(cluster, name).waited_ms(), "the applier's announcement")
    cluster.level()


def test_what_was_foretold_outlives_the_node(cluster):
    name = follower(cluster)
    client = cluster.client(name)
    with locked(cluster, name):
        first = client.lease_keys("note", 1000, timeout_s=PATIENCE_S)
        cluster.crash(name)
        assert cluster.rows(name, KEYS) == []
    cluster.start(name)
    cluster.level()
    ((_, next_key),) = cluster.rows(name, KEYS)
    assert next_key == first.stop
    assert client.lease_keys("note", 1000, timeout_s=PATIENCE_S).start >= first.stop


def test_what_was_foreseen_is_settled_once():
    ground = Ground()
    ground.lead("me", 1)
    ground.submit(b"lease")
    ground.submit(b"other")
    lease = Applied(1, b"lease", Verdict(VerdictKind.APPLIED, first_key=7), 0)
    ground.proposals.on_foreseen([lease, Applied(3, b"of another node", lease.verdict, 0)])
    assert ground.ends == {b"lease": lease}
    ground.apply([b"lease", b"other"])
    assert ground.ends[b"lease"] is lease
    assert ground.ends[b"other"].index == 2
    assert len(ground.proposals) == 0
