"""Killed, paused and restarted nodes: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.harness import Cluster, Worker, WorkerError, wait_until


class Writers:
    """Workers that create items until told to stop."""

    def __init__(self, cluster: Cluster, folder: Path, names: list[str]) -> None:
        self._stop = folder / "stop-writers"
        self.workers: list[Worker] = [
            cluster.worker(name).begin("write_until", str(self._stop), f"{name}-{n}")
            for n, name in enumerate(names)
        ]
        self._readers = {name: cluster.worker(name) for name in names}

    def progress(self, more: int = 20) -> None:
        """Wait until `more` items show on every node that has a writer."""
        before = {name: reader.call("count_items") for name, reader in self._readers.items()}
        for name, reader in self._readers.items():
            wait_until(
                lambda r=reader, n=name: r.call("count_items") >= before[n] + more,
                f"{more} more items on {name}",
            )

    def finish(self) -> tuple[list[str], list[Any]]:
        """Acknowledged names, and failures."""
        self._stop.touch()
        results = [worker.result() for worker in self.workers]
        acknowledged = [name for result in results for name in result["acknowledged"]]
        return acknowledged, [failure for result in results for failure in result["failed"]]


def assert_there_once(cluster: Cluster, acknowledged: list[str]) -> None:
    """Every acknowledged item is on every node; a unique name cannot be there twice."""
    cluster.assert_equal()
    for name in cluster.names:
        assert set(acknowledged) <= set(cluster.worker(name).call("items"))


def test_killed_leader_while_others_write(cluster: Cluster, tmp_path: Path) -> None:
    leader = cluster.leader()
    others = [name for name in cluster.names if name != leader]
    writers = Writers(cluster, tmp_path, others * 2)
    writers.progress()
    cluster.kill(leader)
    writers.progress()
    cluster.start(leader)
    cluster.leader()
    writers.progress()
    acknowledged, failed = writers.finish()
    assert failed == []
    assert_there_once(cluster, acknowledged)


def test_all_killed_at_the_same_moment(cluster: Cluster, tmp_path: Path) -> None:
    writers = Writers(cluster, tmp_path, cluster.names)
    writers.progress()
    cluster.kill()
    cluster.start()
    writers.progress()
    acknowledged, failed = writers.finish()
    assert failed == []
    assert_there_once(cluster, acknowledged)


def test_workers_own_node_killed_and_started_again(cluster: Cluster, tmp_path: Path) -> None:
    follower = cluster.followers()[0]
    writers = Writers(cluster, tmp_path, [follower])
    writers.progress()
    cluster.kill(follower)
    cluster.start(follower)
    writers.progress()
    acknowledged, failed = writers.finish()
    assert failed == []
    assert_there_once(cluster, acknowledged)


def test_paused_leader_is_replaced_and_comes_back_harmless(
    cluster: Cluster, tmp_path: Path
) -> None:
    leader = cluster.leader()
    others = [name for name in cluster.names if name != leader]
    writers = Writers(cluster, tmp_path, others)
    writers.progress()
    cluster.signal(signal.SIGSTOP, leader)
    writers.progress()
    cluster.signal(signal.SIGCONT, leader)
    writers.progress()
    acknowledged, failed = writers.finish()
    assert failed == []
    assert_there_once(cluster, acknowledged)


def test_clean_stop_hands_leadership_over(cluster: Cluster, tmp_path: Path) -> None:
    leader = cluster.leader()
    others = [name for name in cluster.names if name != leader]
    writers = Writers(cluster, tmp_path, others)
    writers.progress()
    assert cluster.stop(leader) == 0
    assert "handed" in cluster.log_of(leader)
    writers.progress()
    cluster.start(leader)
    acknowledged, failed = writers.finish()
    assert failed == []
    assert_there_once(cluster, acknowledged)


def test_without_a_majority_writes_fail_in_time_and_reads_go_on(bare_cluster: Cluster) -> None:
    cluster = bare_cluster
    cluster.settings["COMMIT_TIMEOUT_S"] = 4
    cluster.start()
    leader = cluster.leader()
    follower = cluster.followers()[0]
    worker = cluster.worker(follower)
    worker.call("migrate")
    worker.call("create_item", "before")
    cluster.kill(*[name for name in cluster.names if name != follower])
    started = time.monotonic()
    with pytest.raises(WorkerError) as first:
        worker.call("create_item", "too late")
    assert first.value.kind in {"ClusterUnavailable", "CommitUncertain"}
    wait_until(lambda: (cluster.status(follower) or {}).get("leader") is None, "no leader")
    with pytest.raises(WorkerError) as second:
        worker.call("create_item", "too late again")
    assert second.value.kind == "ClusterUnavailable"
    assert time.monotonic() - started < 30
    assert worker.call("items") == {"before": 0}
    cluster.start(*[name for name in cluster.names if name != follower])
    cluster.leader()
    worker.call("create_item", "after")
    names = set(worker.call("items"))
    assert {"before", "after"} <= names
    assert "too late again" not in names
    cluster.assert_equal()
    assert leader in cluster.names


def test_stopped_worker_inside_a_write_block_holds_nobody_up(
    cluster: Cluster, tmp_path: Path
) -> None:
    name = cluster.followers()[0]
    started = tmp_path / "started"
    stuck = cluster.worker(name).begin("hold_block", str(started), 0.5, "stuck")
    wait_until(started.exists, "the block to begin")
    stuck.signal(signal.SIGSTOP)
    others = [other for other in cluster.names if other != name]
    writers = Writers(cluster, tmp_path, others)
    writers.progress()
    status = wait_until(
        lambda: (s := cluster.status(name)) and not s["ready"] and s,
        "the node to say that it is stuck",
    )
    assert str(stuck.process.pid) in status["not_ready_reason"]
    stuck.signal(signal.SIGCONT)
    # It woke with the lock still in hand: it may be told that it lost it, or just be in time.
    try:
        stuck.result()
    except WorkerError as error:
        assert error.kind == "TransactionConflict"
    acknowledged, failed = writers.finish()
    assert failed == []
    assert_there_once(cluster, acknowledged)


def test_worker_that_dawdles_in_a_block_is_passed_by(cluster: Cluster, tmp_path: Path) -> None:
    name = cluster.followers()[0]
    started = tmp_path / "started"
    slow = cluster.worker(name).begin("hold_block", str(started), 3.0, "slow")
    wait_until(started.exists, "the block to begin")
    writers = Writers(cluster, tmp_path, cluster.names)
    writers.progress()
    with pytest.raises(WorkerError) as error:
        slow.result()
    assert error.value.kind == "TransactionConflict"
    acknowledged, failed = writers.finish()
    assert failed == []
    assert_there_once(cluster, acknowledged)


def test_block_that_swallows_its_own_loss_writes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    first, second = cluster.followers()
    cluster.worker(first).call("create_item", "contended")
    cluster.assert_equal()
    started, go = tmp_path / "started", tmp_path / "go"
    block = cluster.worker(first).begin("swallow_everything", str(started), str(go))
    wait_until(started.exists, "the block to begin")
    cluster.worker(second).call("count_up_until", str(started), "contended")  # none: file exists
    winner = cluster.worker(second)
    winner.call("create_item", "winner")
    wait_until(lambda: "winner" in cluster.worker(first).call("items"), "the winner to arrive")
    go.touch()
    with pytest.raises(WorkerError) as error:
        block.result()
    assert error.value.kind == "TransactionConflict"
    cluster.assert_equal()
    assert set(winner.call("items")) == {"contended", "winner"}
