"""What a Django project does all day, on one node, shows on the others."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.harness import Cluster, wait_until


def test_every_kind_of_write_on_every_node_shows_on_the_others(cluster: Cluster) -> None:
    workers = {name: cluster.worker(name) for name in cluster.names}
    for name, worker in workers.items():
        worker.call("tour", name)
    expected = workers["n1"].call("toured", "n1")
    assert expected["balance"] == 30
    assert expected["notes"] == ["outer", "inner"]
    assert expected["doomed"] == 0
    assert expected["items"] == {"n1-got": 2, "n1-raw": 4}
    cluster.assert_equal()
    for worker in workers.values():
        assert worker.call("toured", "n1") == expected


def test_a_write_shows_at_once_on_the_node_it_was_made_on(cluster: Cluster) -> None:
    follower = cluster.worker(cluster.followers()[0])
    for n in range(50):
        follower.call("create_item", f"mine-{n}")
        assert follower.call("count_items") == n + 1


def test_fixtures_load_on_a_follower(cluster: Cluster, tmp_path: Path) -> None:
    rows = [
        {
            "model": "project.account",
            "pk": 7,
            "fields": {"name": "seven", "balance": 1, "tags": [3]},
        },
        {"model": "project.tag", "pk": 3, "fields": {"name": "three"}},
    ]
    fixture = tmp_path / "rows.json"
    fixture.write_text(json.dumps(rows))
    cluster.worker(cluster.followers()[0]).call("command", "loaddata", str(fixture))
    cluster.assert_equal()
    assert cluster.worker(cluster.leader()).call("balances") == [1]


def test_three_nodes_migrate_at_once(bare_cluster: Cluster) -> None:
    bare_cluster.start()
    bare_cluster.leader()
    workers = [bare_cluster.worker(name) for name in bare_cluster.names]
    for worker in workers:
        worker.begin("migrate")
    for worker in workers:
        worker.result()
    bare_cluster.worker("n2").call("tour", "after")
    bare_cluster.assert_equal()
    bare_cluster.assert_quiet_logs()


def test_racing_get_or_create_makes_one_row(cluster: Cluster) -> None:
    workers = [cluster.worker(name) for name in cluster.names for _ in range(2)]
    for n in range(20):
        for worker in workers:
            worker.begin("get_or_create", f"racing-{n}")
        answers = [worker.result() for worker in workers]
        assert len({pk for pk, _ in answers}) == 1
        assert sum(created for _, created in answers) == 1


def test_a_session_is_saved_in_parallel_on_three_nodes(cluster: Cluster) -> None:
    workers = [cluster.worker(name) for name in cluster.names]
    key = workers[0].call("new_session", 1)
    for n, worker in enumerate(workers):  # at once, where it may not have arrived yet
        worker.begin("save_session", key, f"key-{n}", 20)
    for worker in workers:
        worker.result()
    cluster.assert_equal()
    last = [workers[0].call("session_value", key, f"key-{n}") for n in range(3)]
    assert 19 in last  # the last writer wins, as in stock Django


def test_on_commit_hooks_run_once(cluster: Cluster) -> None:
    assert cluster.worker(cluster.followers()[0]).call("hooks") == ["committed"]


def test_hot_counter_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    cluster.worker("n1").call("create_item", "counter")
    workers = [cluster.worker(name) for name in cluster.names]
    for worker in workers:
        worker.begin("count_up_until", str(stop), "counter")
    reader = cluster.worker("n1")
    wait_until(lambda: reader.call("items", "counter")["counter"] > 100, "a hundred increments")
    stop.touch()
    total = sum(worker.result() for worker in workers)
    cluster.assert_equal()
    assert reader.call("items", "counter") == {"counter": total}


def test_transfers_keep_the_sum(cluster: Cluster, tmp_path: Path) -> None:
    names = [f"account-{n}" for n in range(4)]
    stop = tmp_path / "stop"
    cluster.worker("n1").call("make_accounts", names, 100)
    cluster.assert_equal()
    workers = [cluster.worker(name) for name in cluster.names]
    for seed, worker in enumerate(workers):
        worker.begin("transfer_until", str(stop), names, seed)
    reader = cluster.worker("n2")
    for _ in range(100):
        assert sum(reader.call("balances")) == 400
    stop.touch()
    assert sum(worker.result() for worker in workers) > 0
    cluster.assert_equal()
    assert sum(reader.call("balances")) == 400


def test_the_first_blocks_of_a_new_cluster_get_keys_for_all_their_tables(cluster: Cluster) -> None:
    """They are leased while the block has the write lock that applying the lease needs."""
    cluster.assert_equal()
    workers = {name: cluster.worker(name) for name in cluster.names}
    keys = [workers[name].call("four_tables", f"{name}-small") for name in cluster.names]
    for of_one_table in zip(*keys, strict=True):
        assert len(set(of_one_table)) == 3
    for name, worker in workers.items():
        worker.call("many_after_one", f"{name}-large", 2000)


def test_a_large_block_disturbs_nobody(bare_cluster: Cluster, tmp_path: Path) -> None:
    rows, cluster = 20_000, bare_cluster
    cluster.settings["COMMIT_TIMEOUT_S"] = 60  # others wait for its turn on a busy machine, too
    cluster.start()
    cluster.leader()
    cluster.worker("n1").call("migrate")
    term = cluster.status("n1")["term"]  # type: ignore[index]
    stop = tmp_path / "stop"
    small = cluster.worker("n1").begin("write_until", str(stop), "small")
    cluster.worker("n2").call("bulk", "large", rows, 80, timeout_s=120)
    stop.touch()
    written = small.result()
    assert written["failed"] == []
    cluster.assert_equal()
    assert cluster.worker("n3").call("count_items") == rows + len(written["acknowledged"])
    assert cluster.status("n1")["term"] == term  # type: ignore[index]
    cluster.assert_quiet_logs()
