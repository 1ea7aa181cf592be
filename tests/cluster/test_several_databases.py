"""Two replicated databases and a plain one in the same requests, on three nodes.

Each replicated database is a log of its own: what is promised is that each is right by itself, and that
nothing of a request is done twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from tests.cluster.harness import Cluster, Worker, wait_until


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes for all tests here."""
    cluster = Cluster(tmp_path_factory.mktemp("several"), COMMIT_TIMEOUT_S=30, LOCK_YIELD_MS=1000)
    cluster.django_settings = "tests.cluster.several.settings"
    cluster.files.append("ledger.sqlite3")
    try:
        cluster.start()
        cluster.leader()
        cluster.worker("n1").call("migrate_aliases", "default", "ledger")
        for name in cluster.names:
            cluster.worker(name).call("migrate_aliases", "plain")
        yield cluster
        cluster.assert_quiet_logs()
    finally:
        cluster.close()


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    """All databases are equal in the end."""
    yield running
    running.assert_equal()
    running.dismiss_workers()


@pytest.fixture
def worker(cluster: Cluster) -> Worker:
    """On a node that does not lead."""
    return cluster.worker(cluster.followers()[0])


def test_each_table_is_where_its_router_says(worker: Worker) -> None:
    assert worker.call("tables") == {
        "default": ["several_order"],
        "ledger": ["several_entry"],
        "plain": ["several_visit"],
    }


def test_a_request_writes_all_and_every_machine_shows_it(cluster: Cluster, worker: Worker) -> None:
    others = [cluster.worker(name) for name in cluster.names]
    for n in range(5):
        done = worker.call("request", "put", f"/add/all{n}")
        assert (done["status"], done["runs"]) == (200, 1)
        assert done["hooks"] == ["default", "ledger", "plain"]
        for other in others:  # at once, where neither log may have arrived
            shown = other.call("request", "get", f"/show/all{n}", done["token"])
            assert shown["content"] == "[1, 1]"


def test_blocks_inside_each_other(worker: Worker) -> None:
    done = worker.call("nested", "nested")
    assert done == ["ledger", "inner one ended", "outer one undone"]
    assert worker.call("found", "nested") == {"default": [], "ledger": [0], "plain": [0]}
    assert worker.call("found", "nested undone")["ledger"] == []


def meanwhile(cluster: Cluster, folder: Path, model: str) -> tuple[Worker, dict[str, object]]:
    """A request on one node whose block of this model's database is beaten by another node's write."""
    one, other = cluster.followers()
    mine, theirs = cluster.worker(one), cluster.worker(other)
    name = f"beaten{model}"
    assert mine.call("request", "put", f"/add/{name}")["status"] == 200
    cluster.assert_equal()
    started, go_on = folder / "started", folder / "go_on"
    mine.begin("request", "put", f"/held/{name}?started={started}&go_on={go_on}")
    wait_until(started.exists, "a request that has written")
    theirs.call("change", model, name)
    # Which this node can apply only once the block has had to give the lock back.
    cluster.assert_equal()
    go_on.touch()
    return mine, mine.result()


def test_the_first_to_end_loses_and_all_is_run_again(cluster: Cluster, tmp_path: Path) -> None:
    worker, done = meanwhile(cluster, tmp_path, "Order")
    assert (done["status"], done["runs"]) == (200, 2)
    assert done["hooks"] == ["default", "ledger", "plain"]
    assert worker.call("found", "beatenOrder") == {"default": [101], "ledger": [2], "plain": [2]}


def test_the_second_loses_and_nothing_is_done_twice(cluster: Cluster, tmp_path: Path) -> None:
    """The first one's block is committed by then: the user is told, and nobody repeats it."""
    worker, done = meanwhile(cluster, tmp_path, "Entry")
    assert (done["status"], done["runs"]) == (500, 1)
    assert "TransactionConflict" in done["error"]
    assert "is committed and stays" in done["notes"]
    assert done["hooks"] == ["default"]
    assert worker.call("found", "beatenEntry") == {"default": [2], "ledger": [100], "plain": [1]}


def test_requests_of_one_machine_at_once(cluster: Cluster) -> None:
    """Who commits his first block has other databases locked still, and must not be waited for meanwhile."""
    one = cluster.followers()[0]
    workers = [cluster.worker(one) for _ in range(3)]
    for number, worker in enumerate(workers):
        worker.begin("requests", [f"/pair/busy-{number}-{n}" for n in range(10)])
    assert [worker.result() for worker in workers] == [[200] * 10] * 3


def requested_between(
    cluster: Cluster, folder: Path, name: str, timeout_s: int = 30
) -> tuple[str, Worker, Path]:
    """A request whose node dies when the first of the databases has its block."""
    one = cluster.followers()[0]
    with mock.patch.dict(cluster.settings, COMMIT_TIMEOUT_S=timeout_s):
        worker = cluster.worker(one)
    started, go_on = folder / "started", folder / "go_on"
    worker.begin("request", "put", f"/between/{name}?started={started}&go_on={go_on}")
    wait_until(started.exists, "the first block")
    cluster.kill(one)
    return one, worker, go_on


def test_the_raftnode_dies_between_the_two(cluster: Cluster, tmp_path: Path) -> None:
    one, worker, go_on = requested_between(cluster, tmp_path, "dying", timeout_s=5)
    go_on.touch()
    done = worker.result()
    assert (done["status"], done["runs"]) == (500, 1)
    assert "ClusterUnavailable" in done["error"]
    assert done["hooks"] == ["default"]
    cluster.start(one)
    cluster.assert_equal()
    assert worker.call("found", "dying") == {"default": [1], "ledger": [], "plain": [0]}
    assert worker.call("request", "put", "/add/dying")["status"] == 200
    assert worker.call("found", "dying") == {"default": [2], "ledger": [1], "plain": [1]}


def test_the_raftnode_dies_between_the_two_and_comes_back(cluster: Cluster, tmp_path: Path) -> None:
    one, worker, go_on = requested_between(cluster, tmp_path, "back")
    cluster.start(one)
    go_on.touch()
    done = worker.result()
    assert (done["status"], done["runs"]) == (200, 1)
    assert done["hooks"] == ["default", "ledger", "plain"]
    assert worker.call("found", "back") == {"default": [1], "ledger": [1], "plain": [1]}
