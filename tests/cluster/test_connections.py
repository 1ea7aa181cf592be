"""Connections that are kept, closed in the wrong moment, shared by threads, or inherited by children."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.harness import Cluster, Worker


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes for all tests here."""
    cluster = Cluster(tmp_path_factory.mktemp("connections"), COMMIT_TIMEOUT_S=30)
    try:
        cluster.start()
        cluster.leader()
        cluster.worker("n1").call("migrate")
        cluster.assert_equal()
        yield cluster
        cluster.assert_quiet_logs()
    finally:
        cluster.close()


@pytest.fixture
def worker(running: Cluster) -> Iterator[Worker]:
    """A fresh process on a node that does not lead."""
    worker = running.worker(running.followers()[0])
    yield worker
    running.assert_equal()
    running.dismiss_workers()


def test_forked_children_share_neither_channel_nor_keys(worker: Worker) -> None:
    done = worker.call("forked", "forked", 3)
    assert done["others"] == [True] * 3, "a connection of their own"
    assert done["same"], "the parent's stays"
    keys = [key for of_one in done["keys"] for key in of_one]
    assert len(keys) == 3 + 20 + 3 * 23
    assert len(set(keys)) == len(keys)


def test_a_fork_inside_a_block_leaves_the_block_to_the_parent(worker: Worker) -> None:
    done = worker.call("forked_in_a_block", "inside")
    assert done["child"].startswith("ProgrammingError: Cannot open a new connection in an atomic")
    assert worker.call("items", "inside") == {"inside parent": 7, "inside later-0": 0}


def test_a_connection_closed_inside_a_block(worker: Worker) -> None:
    errors = worker.call("closed_in_a_block", "closed")
    assert errors == ["ProgrammingError", "ProgrammingError"], "as with stock SQLite"
    assert set(worker.call("items", "closed")) == {"closed behind"}


def test_a_thread_that_ends_inside_a_block_loses_it_and_keeps_no_lock(worker: Worker) -> None:
    worker.call("thread_ends_in_a_block", "thread")
    assert set(worker.call("items", "thread")) == {"thread behind"}


def test_persistent_connections(worker: Worker) -> None:
    assert worker.call("persistent", 5) == [1, True, True]


def test_many_threads(worker: Worker) -> None:
    made = worker.call("many_threads", "many", 16)
    keys = [key for of_one in made for key in of_one]
    assert len(set(keys)) == len(keys) == 16 * 5


def test_asynchronous_code(worker: Worker) -> None:
    keys, found = worker.call("asynchronous", "async")
    assert len(set(keys)) == found == 7
