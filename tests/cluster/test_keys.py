"""No key is given twice, by whichever process of whichever node, whatever happens to sequences."""

from __future__ import annotations

import json
from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raftdjango.node.limits import KEY_LEASE_COUNT_MAX
from tests.cluster.harness import Cluster, Worker, WorkerError

HIGH = 10_000_000
LARGEST = 2**63 - 1


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes for all tests here."""
    cluster = Cluster(tmp_path_factory.mktemp("keys"), COMMIT_TIMEOUT_S=30)
    try:
        cluster.start()
        cluster.leader()
        cluster.worker("n1").call("migrate")
        yield cluster
        cluster.assert_quiet_logs()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def workers(running: Cluster) -> list[Worker]:
    """Two processes on each node."""
    return [running.worker(name) for name in running.names for _ in range(2)]


@pytest.fixture
def shared(running: Cluster, workers: list[Worker]) -> Iterator[Cluster]:
    """Without rows, and with sequences that begin anew."""
    running.assert_equal()  # Or rows would stay that have not arrived yet.
    workers[0].call("delete_items")
    workers[0].call("execute", "DELETE FROM sqlite_sequence")
    running.assert_equal()
    yield running
    running.assert_equal()


@pytest.fixture
def six(shared: Cluster, workers: list[Worker]) -> list[Worker]:
    """Each of them with a block of keys at hand that lies above `HIGH`."""
    workers[0].call("create_with_key", HIGH, "high")
    shared.assert_equal()
    workers[0].call("execute", "REINDEX project_item")  # No block from before is left.
    shared.assert_equal()
    for number, worker in enumerate(workers):
        assert min(worker.call("given", f"{number} before", 3)) > HIGH
    shared.assert_equal()
    return workers


def give(workers: list[Worker], what: str, count: int = 30) -> list[int]:
    """All create rows at once, and none stays; the keys."""
    for number, worker in enumerate(workers):
        worker.begin("given", f"{number} {what}", count)
    keys = [key for worker in workers for key in worker.result()]
    workers[0].call("delete_items")
    return keys


RESETS = {
    "update": "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'project_item'",
    "qualified": 'UPDATE OR IGNORE "main"."sqlite_sequence" SET seq = 0',
    "delete": "DELETE FROM main.sqlite_sequence WHERE name = 'project_item'",
}


@pytest.mark.parametrize("sql", RESETS.values(), ids=RESETS)
def test_a_sequence_that_one_process_resets_begins_anew_in_all(
    shared: Cluster, six: list[Worker], sql: str
) -> None:
    six[0].call("delete_items")
    six[0].call("execute", sql)
    shared.assert_equal()
    keys = give(six, "after") + give(six, "later")
    assert max(keys) < HIGH, "of a block from before"
    assert max(Counter(keys).values()) == 1


def test_flush_resets_for_all(shared: Cluster, six: list[Worker]) -> None:
    flushed = shared.manage("n2", "flush", "--no-input")
    assert flushed.returncode == 0, flushed.stderr
    shared.assert_equal()
    keys = give(six, "after")
    assert max(keys) < HIGH
    assert max(Counter(keys).values()) == 1


def test_a_sequence_that_is_raised_is_raised_for_all(shared: Cluster, six: list[Worker]) -> None:
    """As when data of a backup is put back, whose highest rows were gone already."""
    six[3].call("execute", f"UPDATE sqlite_sequence SET seq = {9 * HIGH}")
    shared.assert_equal()
    keys = give(six, "after")
    assert min(keys) > 9 * HIGH
    assert max(Counter(keys).values()) == 1


def test_keys_far_above_and_the_last_one(shared: Cluster, six: list[Worker]) -> None:
    six[0].call("create_with_key", 10**9, "far above")
    keys = give(six, "beside it")
    assert len(set(keys)) == len(keys)
    assert six[5].call("create_with_key", LARGEST, "the last one") == LARGEST
    shared.assert_equal()
    six[0].call("execute", "CREATE INDEX now_on_nothing ON project_item (value)")
    six[0].call("execute", "DROP INDEX now_on_nothing")
    shared.assert_equal()
    for script in ("given", "four_tables"):
        with pytest.raises(WorkerError, match="project_item has no keys left") as caught:
            six[4].call(script, "behind the last one", *([1] if script == "given" else []))
        assert caught.value.kind == "OperationalError"
    six[1].call("delete_items")
    six[1].call("execute", RESETS["update"])
    shared.assert_equal()
    assert max(give(six, "anew")) < HIGH


def test_fixtures_move_the_allocator(shared: Cluster, six: list[Worker], tmp_path: Path) -> None:
    names = [f"loaded {n}" for n in range(3)]
    rows = [
        {"model": "project.item", "pk": 5 * HIGH + n, "fields": {"name": name}}
        for n, name in enumerate(names)
    ]
    fixture = tmp_path / "items.json"
    fixture.write_text(json.dumps(rows))
    six[2].call("command", "loaddata", str(fixture))
    shared.assert_equal()
    behind, rounds = 0, 0
    while not behind:
        # Until all that had been leased before is used up, the largest leases included.
        for n, worker in enumerate(six):
            worker.begin("bulk", f"{n} after {rounds}", 3000, 0)
        for worker in six:
            worker.result()
        rounds += 1
        assert rounds * 3000 < 3 * KEY_LEASE_COUNT_MAX, "blocks leased since lie behind"
        shared.assert_equal()
        before, behind = six[0].call("split_at", 5 * HIGH + len(rows))
    assert before + behind == 6 * 3 + 1 + len(rows) + rounds * 6 * 3000


def test_keys_left_to_sqlite_are_nobody_elses(shared: Cluster, workers: list[Worker]) -> None:
    """SQLite counts on from the largest key there is, which lies in somebody else's block."""
    below, above = workers[0], workers[2]
    for worker in (below, above):
        for number in range(10):  # Until their nodes lease more than they need at once.
            worker.call("bulk", f"{number}", 200, 0)
        worker.call("delete_items")
    given = above.call("given", "first", 3)
    shared.assert_equal()
    given += below.call("raw", "behind it", 40)
    above.call("delete_items")  # Nobody can see any more that these have been used.
    given += above.call("given", "next", 100)
    assert max(Counter(given).values()) == 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_lives(shared: Cluster, workers: list[Worker], seed: int) -> None:
    """Between two resets, in the order of the log, nobody is given what somebody had already."""
    for number, worker in enumerate(workers):
        worker.begin("live", 100 * seed + number, 60)
    lives: list[dict[str, Any]] = [worker.result(timeout_s=120) for worker in workers]
    resets = sorted(index for life in lives for index in life["resets"])
    given = Counter((bisect(resets, index), key) for life in lives for index, key in life["given"])
    assert resets
    assert len(given) > 500
    assert [each for each, count in given.items() if count > 1] == []
