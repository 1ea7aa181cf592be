"""Fresh reads on three machines: nothing acknowledged is missing, and nothing is written for them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import Cluster, WorkerError, dump, wait_until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all of them: each leaves it in good health."""
    cluster = Cluster(tmp_path_factory.mktemp("reads"), COMMIT_TIMEOUT_S=30)
    try:
        cluster.start()
        cluster.leader()
        cluster.worker("n1").call("migrate")
        yield cluster
        cluster.assert_equal()
        cluster.assert_quiet_logs()
    finally:
        cluster.close()


def test_a_linearizable_read_on_any_node_shows_what_another_has_written(cluster: Cluster) -> None:
    workers = {name: cluster.worker(name) for name in cluster.names}
    for value in range(1, 16):
        for name, writer in workers.items():
            writer.call("write_value", name, value)
            others = [workers[other] for other in cluster.names if other != name]
            for reader in others:
                reader.begin("read_value", name, "linearizable")
            assert [reader.result() for reader in others] == [value, value]


def test_reads_cost_no_entries(cluster: Cluster) -> None:
    workers = [cluster.worker(name) for name in cluster.names]
    workers[0].call("write_value", "counted", 1)
    leader = cluster.leader()

    def formed() -> bool:
        """What is left of the forming is written: the data directory of each member."""
        members = dump(cluster.database(leader))["raftdjango_member"]
        return len([row for row in members if row[-1]]) == len(cluster.names)

    wait_until(formed, "the last entries of the forming")
    before = (cluster.status(leader) or {})["last_index"]
    for worker in workers:
        for _ in range(20):
            assert worker.call("read_value", "counted", "linearizable") == 1
    assert (cluster.status(leader) or {})["last_index"] == before


def test_a_node_without_a_majority_says_so_and_reads_what_it_has(cluster: Cluster) -> None:
    alone, *others = cluster.names
    worker = cluster.worker(alone)
    worker.call("write_value", "alone", 1)
    cluster.signal(signal.SIGSTOP, *others)
    try:
        with pytest.raises(WorkerError, match=r"be fresh \(linearizable\) and could not be: Node"):
            worker.call("read_value", "alone", "linearizable, soon")
        assert worker.call("read_value", "alone", "local") == 1
        assert worker.call("read_value", "alone", "bounded") == 1
    finally:
        cluster.signal(signal.SIGCONT, *others)
    assert worker.call("read_value", "alone", "linearizable") == 1


def test_while_leaders_are_lost_no_read_misses_what_was_told_before(
    cluster: Cluster, tmp_path: Path
) -> None:
    stop, told = tmp_path / "stop", tmp_path / "told"

    def reached(value: int) -> bool:
        return told.exists() and int(told.read_text()) >= value

    # A worker outlives its raftnode, which the supervisor of a real machine starts again.
    writer = cluster.worker("n1").begin("count_up_writing_down", str(stop), "counter", str(told))
    readers = [
        cluster.worker(name).begin("read_after", str(stop), "counter", str(told))
        for name in cluster.names
    ]
    for _ in range(2):
        now = int(told.read_text()) if told.exists() else 0
        wait_until(lambda now=now: reached(now + 20), "writes")
        lost = cluster.leader()
        cluster.kill(lost)
        cluster.start(lost)
    now = int(told.read_text())
    wait_until(lambda: reached(now + 20), "writes under the last leader")
    stop.touch()
    writer.result()
    for reader in readers:
        seen = reader.result()
        assert len(seen) > 20
        assert [pair for pair in seen if pair[1] < pair[0]] == []


def test_a_user_who_goes_from_node_to_node_sees_what_he_wrote(cluster: Cluster) -> None:
    workers = {name: cluster.worker(name) for name in cluster.names}
    token = ""
    for turn in range(30):
        here, following = cluster.names[turn % 3], cluster.names[(turn + 1) % 3]
        status, body, token = workers[here].call("request", "POST", "user", token)
        assert (status, body) == (200, str(turn + 1))
        assert workers[following].call("request", "GET", "user", token)[:2] == [200, body]


def test_a_machine_that_lags_says_try_again(cluster: Cluster) -> None:
    lagging, other = cluster.followers()[0], cluster.leader()
    worker = cluster.worker(lagging)
    assert worker.call("request", "GET", "slow", "")[:2] == [200, "0"]
    cluster.signal(signal.SIGSTOP, lagging)
    try:
        _, _, token = cluster.worker(other).call("request", "POST", "slow", "")
        status, body, _ = worker.call("request", "GET", "slow", token)
        assert status == 503
        assert "does not show your last change yet" in body
        assert worker.call("request", "GET", "slow", "")[:2] == [200, "0"]
    finally:
        cluster.signal(signal.SIGCONT, lagging)
    assert worker.call("request", "GET", "slow", token)[:2] == [200, "1"]
