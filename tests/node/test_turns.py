"""Exclusive turns on real nodes: log, applier and local channel of each, in one process."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from raftdjango.client import Outcome, proposal_ids
from raftdjango.client.socket import SocketClient
from raftdjango.node.writes import turn_queue
from raftdjango.writeset import Command, encode_command
from tests.node.nodes import GROUP, PATIENCE_S, Cluster, command, insert, make_table, wait_until


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    # Nothing here depends on how fast the machine is.
    monkeypatch.setattr(turn_queue, "TURN_S_MAX", 600.0)
    monkeypatch.setattr(turn_queue, "SILENCE_S", 600.0)
    with Cluster() as cluster:
        cluster.start()
        cluster.leader()
        yield cluster


def take(client: SocketClient) -> bytes:
    token = proposal_ids.next()
    assert client.take_turn(token, timeout_s=PATIENCE_S)
    return token


class Writer(threading.Thread):
    """Proposes one row and waits for its outcome."""

    def __init__(self, client: SocketClient, version: int, key: int) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.proposal = command(insert(version, key, "held"), client=client)
        self.log_index = 0
        self.start()

    def run(self) -> None:
        outcome = self.client.propose(*self.proposal, timeout_s=PATIENCE_S)
        self.log_index = outcome.log_index


def held(cluster: Cluster) -> int:
    """Forwarded proposals that the leader keeps, and its own that wait."""
    status = cluster.status(cluster.leader())
    waiting: int = status["turns"]["held"] + status["queues"]["proposals"]
    return waiting


def test_what_others_write_meanwhile_comes_behind_the_holder(cluster: Cluster) -> None:
    leader = cluster.leader()
    follower, other = (name for name in cluster.names if name != leader)
    version = make_table(cluster.client(leader))
    holder = cluster.client(follower)
    token = take(holder)
    assert cluster.status(leader)["turns"]["holder"] == follower
    writers = [Writer(cluster.client(name), version, key) for key, name in enumerate(cluster.names)]
    wait_until(lambda: held(cluster) == 3, "all three to be held back")
    assert len(holder.lease_keys("note", 5, timeout_s=PATIENCE_S)) == 5, "leases go on"
    write = encode_command(Command(token, 0, insert(version, 100, "the holder's")))
    mine = holder.propose(token, write, timeout_s=PATIENCE_S)
    turns = cluster.nodes[follower].groups[GROUP].turns
    assert cluster.thread.call(len, turns) == 0, "nothing is said about it any more"
    for writer in writers:
        writer.join(PATIENCE_S)
    assert all(writer.log_index > mine.log_index for writer in writers)
    cluster.level()
    assert len(cluster.rows(other)) == 4
    assert cluster.status(leader)["turns"] == {
        "holder": None,
        "waiting": 0,
        "held": 0,
        "granted": 1,
        "timed_out": 0,
    }


def test_others_go_on_as_soon_as_the_holders_entry_has_its_place(cluster: Cluster) -> None:
    """They do not wait until its node has applied it, which may take a while."""
    leader = cluster.leader()
    follower = next(name for name in cluster.names if name != leader)
    version = make_table(cluster.client(leader))
    cluster.level()
    holder = cluster.client(follower)
    token = take(holder)
    writer = Writer(cluster.client(leader), version, 1)
    wait_until(lambda: held(cluster) == 1, "the write to be held back")
    write = encode_command(Command(token, 0, insert(version, 100, "the holder's")))
    with closing(sqlite3.connect(cluster.database(follower), isolation_level=None)) as local:
        local.execute("BEGIN IMMEDIATE")
        ends: list[Outcome] = []
        proposing = threading.Thread(
            target=lambda: ends.append(holder.propose(token, write, timeout_s=PATIENCE_S))
        )
        proposing.start()
        writer.join(PATIENCE_S)
        assert ends == []
        local.execute("ROLLBACK")
        proposing.join(PATIENCE_S)
    assert 0 < ends[0].log_index < writer.log_index


@pytest.mark.parametrize("how", ["given back", "gone"])
def test_a_turn_ends_with_its_worker(cluster: Cluster, how: str) -> None:
    leader = cluster.leader()
    version = make_table(cluster.client(leader))
    holder = cluster.client(next(name for name in cluster.names if name != leader))
    token = take(holder)
    writer = Writer(cluster.client(leader), version, 1)
    wait_until(lambda: held(cluster) == 1, "the write to be held back")
    if how == "gone":
        holder.close()
    else:
        holder.end_turn(token)
    writer.join(PATIENCE_S)
    assert writer.log_index


def test_a_turn_ends_with_the_leader_that_gave_it(cluster: Cluster) -> None:
    leader = cluster.leader()
    follower, other = (name for name in cluster.names if name != leader)
    version = make_table(cluster.client(leader))
    cluster.level()
    holder = cluster.client(follower)
    token = take(holder)
    writer = Writer(cluster.client(other), version, 1)
    wait_until(lambda: held(cluster) == 1, "the write to be held back")
    cluster.crash(leader)
    writer.join(PATIENCE_S)
    assert writer.log_index
    late = encode_command(Command(token, 0, insert(version, 2, "in competition")))
    assert holder.propose(token, late, timeout_s=PATIENCE_S).log_index
    cluster.level()
    assert len(cluster.rows(other)) == 2


def test_two_workers_of_one_node_have_turns_one_after_the_other(cluster: Cluster) -> None:
    name = cluster.leader()
    first, second = cluster.client(name), cluster.client(name)
    token = take(first)
    tokens: list[bytes] = []
    waiting = threading.Thread(target=lambda: tokens.append(take(second)), daemon=True)
    waiting.start()
    wait_until(lambda: cluster.status(name)["turns"]["waiting"] == 2, "both to be in line")
    assert tokens == []
    first.end_turn(token)
    waiting.join(PATIENCE_S)
    assert len(tokens) == 1


def test_without_a_leader_no_turn_comes_and_that_is_no_error(cluster: Cluster) -> None:
    leader = cluster.leader()
    follower = next(name for name in cluster.names if name != leader)
    client = cluster.client(follower)
    client.cluster_time_ms()
    for name in cluster.names:
        if name != follower:
            cluster.crash(name)
    wait_until(lambda: cluster.status(follower)["leader"] is None, "the leader to be missed")
    assert client.take_turn(proposal_ids.next(), timeout_s=0.2) is False
    turns = cluster.nodes[follower].groups[GROUP].turns
    assert cluster.thread.call(len, turns) == 0
