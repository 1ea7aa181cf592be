"""A node in trouble of its own: it stops applying, names who holds it up, and never skips."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from raftdjango.applier import EnvironmentFault
from raftdjango.client.socket import SocketClient
from raftdjango.exceptions import ClusterUnavailable, CommitUncertain
from raftdjango.node import status as status_module
from raftdjango.node.process import RaftNode
from raftdjango.writeset import VerdictKind
from tests.node.nodes import GROUP, PATIENCE_S, Cluster, command, insert, make_table, wait_until


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(1) as cluster:
        cluster.start()
        cluster.leader()
        yield cluster


def test_a_database_that_fails_stops_applying_and_says_so(cluster):
    client = cluster.client("n1")
    version = make_table(client)
    group = cluster.nodes["n1"].groups[GROUP]
    applier = group.applier._applier

    def fail(entries):
        raise EnvironmentFault("disk I/O error")

    applier.apply_batch = applier.apply_at_once = fail
    with pytest.raises(CommitUncertain, match="disk I/O error"):
        client.propose(*command(insert(version, 1, "x"), client=client), timeout_s=PATIENCE_S)
    with pytest.raises(ClusterUnavailable, match="stopped applying: disk I/O error"):
        client.propose(*command(insert(version, 2, "y"), client=client), timeout_s=PATIENCE_S)
    status = client.status(timeout_s=PATIENCE_S)
    assert not status["ready"]
    assert "disk I/O error" in status["not_ready_reason"]
    # The cause is mended.  Only a restart goes on, and with the very entry that failed.
    del applier.apply_batch, applier.apply_at_once
    assert cluster.rows("n1") == []
    cluster.crash("n1")
    cluster.start("n1")
    cluster.leader()
    client.refresh(timeout_s=PATIENCE_S)
    assert cluster.rows("n1") == [(1, "x")]


def test_who_keeps_the_write_lock_is_named_and_then_all_goes_on(cluster, monkeypatch):
    monkeypatch.setattr(status_module, "LOCK_WAIT_S", 0.1)
    client = cluster.client("n1")
    version = make_table(client)
    with closing(sqlite3.connect(cluster.database("n1"), isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(CommitUncertain) as uncertain:
            client.propose(*command(insert(version, 1, "x"), client=client), timeout_s=0.2)
        wait_until(lambda: cluster.status("n1")["write_lock_holder"], "the holder's name")
        status = cluster.status("n1")
        assert not status["ready"]
        assert "write lock is held by process" in status["not_ready_reason"]
        holder.execute("ROLLBACK")
    assert uncertain.value.resolve(PATIENCE_S) is True
    wait_until(lambda: cluster.status("n1")["ready"], "readiness")


def test_a_stop_waits_for_what_is_under_way(cluster):
    client = cluster.client("n1")
    version = make_table(client)
    proposal = command(insert(version, 1, "x"), client=client)
    group = cluster.nodes["n1"].groups[GROUP]
    outcomes: list = []
    with closing(sqlite3.connect(cluster.database("n1"), isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        asking = threading.Thread(
            target=lambda: outcomes.append(client.propose(*proposal, timeout_s=PATIENCE_S))
        )
        asking.start()
        wait_until(lambda: len(group.proposals), "the proposal")
        stopping = threading.Thread(target=cluster.stop, args=("n1",))
        stopping.start()
        wait_until(lambda: group.stopping, "the stop")
        holder.execute("ROLLBACK")
    asking.join(PATIENCE_S)
    stopping.join(PATIENCE_S)
    assert outcomes[0].verdict.kind is VerdictKind.APPLIED
    assert "n1" not in cluster.nodes, "it was answered by the node that stopped"


def test_two_groups_live_in_one_process(monkeypatch):
    with Cluster(1) as cluster:
        databases = {GROUP: cluster.database("n1"), "other": cluster.folder / "other.db"}

        async def start() -> RaftNode:
            node = RaftNode(
                cluster.settings("n1"),
                databases,
                transport=cluster.network.connect,
                with_http=False,
            )
            await node.start()
            return node

        node = cluster.nodes["n1"] = cluster.thread.run(start())
        ids = set()
        for number, (name, database) in enumerate(databases.items()):
            client = SocketClient(name, settings=cluster.settings("n1"), database=database)
            version = make_table(client)
            for key in range(number + 1):
                proposal = command(insert(version, key, name), client=client)
                outcome = client.propose(*proposal, timeout_s=PATIENCE_S)
                assert outcome.verdict.kind is VerdictKind.APPLIED
            ids.add(client.status(timeout_s=PATIENCE_S)["cluster_id"])
            client.close()
            with closing(sqlite3.connect(database)) as connection:
                rows = connection.execute("SELECT text FROM note").fetchall()
            assert rows == [(name,)] * (number + 1)
        assert len(ids) == 2
        assert set(node.groups) == {GROUP, "other"}


def test_a_start_that_fails_leaves_nothing_behind(cluster):
    """The second group cannot be opened: the first one's files are given back."""
    bad = cluster.folder / "bad.db"
    with closing(sqlite3.connect(bad)) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER PRIMARY KEY)")
    cluster.stop("n1")

    async def start() -> None:
        databases = {GROUP: cluster.database("n1"), "other": bad}
        node = RaftNode(
            cluster.settings("n1"), databases, transport=cluster.network.connect, with_http=False
        )
        with pytest.raises(Exception, match="theirs"):
            await node.start()

    cluster.thread.run(start())
    cluster.start("n1")
    cluster.leader()


def test_a_folder_made_anew_is_no_longer_this_node():
    """Its votes are forgotten, so it must not come back under its old name."""
    with Cluster(3) as cluster:
        cluster.start()
        cluster.leader()
        for node in cluster.nodes.values():
            wait_until(lambda node=node: node.groups[GROUP].formation.is_complete, "bindings")
        forming = cluster.nodes["n1"].groups[GROUP].forming
        assert forming.evicted == ""
        forming.bound["n1"] = b"another incarnation"
        assert "forgotten what it voted" in forming.evicted
        status = cluster.status("n1")
        assert "forgotten what it voted" in status["not_ready_reason"]


@pytest.mark.parametrize("failed", [False, True])
def test_a_node_that_ends_before_it_was_ready_does_not_say_ready(failed):
    told: list[str] = []
    with Cluster(2) as cluster:
        cluster.start("n1")
        node = cluster.nodes["n1"]

        async def run() -> None:
            asyncio.get_running_loop().call_later(0.2, end)
            await node.run(on_ready=lambda: told.append("ready"))

        def end() -> None:
            if failed:
                node._fail("the log is gone")
            else:
                node.request_stop()

        cluster.thread.run(run())
    assert told == []
