"""Writers of all nodes after the same rows: everybody gets through, and nothing is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftdjango.backends.sqlite3.statements.execution import EXCLUSIVE_AFTER
from tests.cluster.harness import Cluster, Worker, WorkerError, wait_until

LONG_S = 0.4
"""Twice as long as the applier waits for a block."""
LONGER_S = 3.2
"""Longer than a first turn, shorter than a second."""


@pytest.fixture
def contended(cluster: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with two steady writers on every node, and an account for the long block."""
    stop = tmp_path / "stop"
    cluster.worker("n1").call("create_account", "long")
    writers = [
        cluster.worker(name).begin("write_steadily_until", str(stop), f"{name}-{number}")
        for name in cluster.names
        for number in range(2)
    ]
    reader = cluster.worker("n1")
    wait_until(lambda: reader.call("count_items") > 50, "the writers to be at work")
    yield cluster
    stop.touch()
    assert all(writer.result()["created"] for writer in writers), "nobody was starved by the block"


def long_block(worker: Worker, **options: int | None) -> dict[str, object]:
    result: dict[str, object] = worker.call("long_block", "long", LONG_S, options)
    return result


def test_a_long_block_gets_through_under_steady_writers_of_all_nodes(contended: Cluster) -> None:
    follower = contended.followers()[0]
    worker = contended.worker(follower)
    with pytest.raises(WorkerError, match="TransactionConflict"):
        long_block(worker, attempts=3, exclusive_after=None)
    result = long_block(worker, attempts=4, exclusive_after=3)
    assert result["runs"] == 4, "defeated as often as before, then no more"
    leaders = contended.worker(contended.leader())
    assert long_block(leaders, attempts=1, exclusive_after=0)["runs"] == 1
    turns = contended.status(contended.leader())["turns"]  # type: ignore[index]
    assert (turns["holder"], turns["timed_out"]) == (None, 0)


def test_a_block_longer_than_a_turn_gets_a_longer_one(contended: Cluster) -> None:
    worker = contended.worker(contended.followers()[0])
    result = worker.call("long_block", "long", LONGER_S, {"attempts": 2, "exclusive_after": 0})
    assert result["runs"] == 2, "a first turn is too short, a second is not"


def test_a_turn_ends_when_its_worker_is_stopped(cluster: Cluster, tmp_path: Path) -> None:
    """Neither dead nor done: the leader's patience ends, and all others go on."""
    started = tmp_path / "started"
    cluster.worker("n1").call("create_account", "long")
    cluster.assert_equal()
    name = cluster.followers()[0]
    holder = cluster.worker(name).begin("dawdle_in_turn", str(started), "long")
    wait_until(started.exists, "the block to be in its turn")
    holder.signal(signal.SIGSTOP)
    other = next(each for each in cluster.names if each != name)
    cluster.worker(other).call("add_to_account", "long", 5)
    assert cluster.status(cluster.leader())["turns"]["timed_out"] == 1  # type: ignore[index]
    holder.signal(signal.SIGCONT)
    with pytest.raises(WorkerError, match="TransactionConflict"):
        holder.result()
    assert cluster.worker(other).call("balances") == [5]


def test_a_hot_counter_loses_nothing_and_nobody_is_beaten_for_ever(cluster: Cluster) -> None:
    times = 10
    cluster.worker("n1").call("create_item", "hot")
    cluster.assert_equal()
    workers = [cluster.worker(name) for name in cluster.names for _ in range(4)]
    for worker in workers:
        worker.begin("count_up", "hot", times)
    results = [worker.result() for worker in workers]
    cluster.assert_equal()
    reader = cluster.worker("n1")
    assert reader.call("items", "hot") == {"hot": times * len(workers)}
    again = sum(result["again"] for result in results)
    assert again > 0, "they did meet"
    assert max(result["most"] for result in results) <= EXCLUSIVE_AFTER + 1, results
