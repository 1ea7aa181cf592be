"""An application's history of migrations, on three nodes, under load and with nodes that fail."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import Cluster, Worker, WorkerError, dump, wait_until

LAST = "0006_tidy"
COUNT = 500


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes for all tests here: each begins with the first migration, and leaves them running."""
    cluster = Cluster(tmp_path_factory.mktemp("evolving"), COMMIT_TIMEOUT_S=30)
    cluster.django_settings = "tests.cluster.evolving.settings"
    try:
        cluster.start()
        cluster.leader()
        yield cluster
        cluster.assert_quiet_logs()
    finally:
        cluster.close()


@pytest.fixture
def evolving(shared: Cluster) -> Iterator[Cluster]:
    """The first migration's table with rows in it, and databases that are equal in the end."""
    shared.worker(shared.leader()).call("prepare", COUNT)
    yield shared
    shared.assert_equal()
    shared.dismiss_workers()


def books_of(cluster: Cluster, name: str) -> list[list[object]]:
    """As the application sees them on a node; prices became cents, every book has a shelf."""
    found = cluster.worker(name).call("books")
    assert [book[2] for book in sorted(found)] == [n * 25 for n in range(COUNT)]
    assert {book[3] for book in found} == {"new"}
    assert all(book[4] for book in found)
    return found


def schema_of(cluster: Cluster, name: str) -> list[object]:
    return list(dump(cluster.database(name))["sqlite_master"])


def test_all_nodes_migrate_at_once_under_load(evolving: Cluster, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    writers = [evolving.worker(name) for name in evolving.names]
    touchers = [evolving.worker(name) for name in evolving.names[:2]]
    for number, writer in enumerate(writers):
        writer.begin("write_until", str(stop), f"writer {number} of all")
    for toucher in touchers:
        toucher.begin("touch_books_until", str(stop))
    migrating = [evolving.worker(name) for name in evolving.names]
    for worker in migrating:
        worker.begin("migrate_to", LAST)
    for worker in migrating:
        worker.result()
    stop.touch()
    for writer in writers:
        assert writer.result()["failed"] == []
    for toucher in touchers:
        assert toucher.result()["failed"] == []
    evolving.assert_equal()
    assert books_of(evolving, "n1") == books_of(evolving, "n3")
    unchanged = evolving.manage("n2", "makemigrations", "--check", "--dry-run")
    assert unchanged.returncode == 0, unchanged.stdout


def test_there_and_back_again_from_another_node_each_time(evolving: Cluster) -> None:
    n2, n3 = evolving.worker("n2"), evolving.worker("n3")
    n2.call("migrate_to", LAST)
    before = schema_of(evolving, "n2")
    n3.call("migrate_to", "0001")
    assert n2.call("rows", "SELECT count(*), sum(price) FROM evolving_book") == [
        [COUNT, sum(n / 4 for n in range(COUNT))]
    ]
    n2.call("migrate_to", LAST)
    books_of(evolving, "n3")
    assert schema_of(evolving, "n2") == before
    n3.call("migrate_to", "zero")
    assert "evolving" not in str(schema_of(evolving, "n3"))
    n2.call("migrate_to", LAST, "--fake")
    evolving.assert_equal()
    assert "evolving_" not in str(schema_of(evolving, "n1"))
    shown = evolving.manage("n3", "showmigrations", "evolving").stdout
    assert shown.count("[X]") == 6, shown
    n3.call("migrate_to", "zero", "--fake")


def test_what_fails_in_the_middle_leaves_every_node_as_before(evolving: Cluster) -> None:
    worker = evolving.worker("n2")
    evolving.assert_equal()
    before = {name: dump(evolving.database(name)) for name in evolving.names}
    with pytest.raises(WorkerError, match="in the middle"):
        worker.call("migrate_and_fail")
    evolving.assert_equal()
    for name in evolving.names:
        after = dump(evolving.database(name))
        assert after["sqlite_master"] == before[name]["sqlite_master"]
        assert after["evolving_book"] == before[name]["evolving_book"]
        assert after["django_migrations"] == before[name]["django_migrations"]
    worker.call("migrate_to", LAST)
    books_of(evolving, "n3")


def test_a_node_that_was_away_catches_up(evolving: Cluster) -> None:
    away = evolving.followers()[0]
    here = [name for name in evolving.names if name != away]
    evolving.kill(away)
    evolving.worker(here[0]).call("migrate_to", LAST)
    evolving.worker(here[1]).call("create_item", "written on the new schema")
    evolving.start(away)
    evolving.assert_equal()
    books_of(evolving, away)


def test_the_next_one_goes_on_where_a_migration_was_killed(
    evolving: Cluster, tmp_path: Path
) -> None:
    """Between the steps of one that is not atomic, whose steps are entries of their own."""
    started = tmp_path / "started"
    killed = evolving.worker("n1").begin("migrate_and_hang", str(started))
    wait_until(started.exists, "a migration under way")
    killed.signal(signal.SIGKILL)
    # Its lock runs out.  What it had done is done again, as on stock SQLite.
    evolving.worker("n2").call("migrate_to", LAST)
    books_of(evolving, "n1")


def test_one_that_stood_still_migrates_nothing_twice(evolving: Cluster, tmp_path: Path) -> None:
    """Ctrl-Z, a paused machine: its lock runs out, and nothing tells it so when it goes on."""
    started, go_on = tmp_path / "started", tmp_path / "go_on"
    first, other = evolving.worker("n1"), evolving.worker("n2")
    first.begin("migrate_rows", str(started), str(go_on))
    wait_until(started.exists, "a migration under way")
    first.signal(signal.SIGSTOP)
    go_on.touch()
    try:
        other.call("migrate_rows", str(tmp_path / "started_too"), str(go_on))
    finally:
        first.signal(signal.SIGCONT)
    with pytest.raises(WorkerError, match="another migrate has had it since"):
        first.result()
    evolving.assert_equal()
    assert other.call("rows", "SELECT count(*) FROM evolving_book WHERE name = 'bonus'") == [[1]]
    recorded = "SELECT count(*) FROM django_migrations WHERE app = 'evolving' AND name LIKE '0002%'"
    assert other.call("rows", recorded) == [[1]]
    other.call("migrate_to", "0001", "--fake")


@pytest.mark.parametrize("what", ["leader", "follower"])
def test_a_node_is_killed_meanwhile(evolving: Cluster, tmp_path: Path, what: str) -> None:
    leader = evolving.leader()
    victim = leader if what == "leader" else evolving.followers()[0]
    other = next(name for name in evolving.followers() if name != victim)
    stop = tmp_path / "stop"
    writer = evolving.worker(other).begin("write_until", str(stop), f"writer beside a {what}")
    migrating = evolving.worker(other).begin("migrate_to", LAST)
    reader = evolving.worker(other)
    done = "SELECT count(*) FROM django_migrations WHERE app = 'evolving'"
    wait_until(lambda: reader.call("rows", done)[0][0] > 1, "the second migration")
    evolving.kill(victim)
    migrating.result()
    stop.touch()
    assert writer.result()["failed"] == []
    evolving.start(victim)
    evolving.assert_equal()
    books_of(evolving, victim)


def test_the_other_commands(evolving: Cluster) -> None:
    worker: Worker = evolving.worker("n1")
    worker.call("migrate_to", LAST)
    sql = evolving.manage("n2", "sqlmigrate", "evolving", "0002").stdout
    assert "CREATE TABLE" in sql
    assert "evolving_book" in evolving.manage("n2", "inspectdb", "evolving_book").stdout
    resets = evolving.manage("n2", "sqlsequencereset", "evolving")
    assert resets.returncode == 0, resets.stderr
    evolving.manage("n3", "flush", "--no-input")
    assert worker.call("rows", "SELECT count(*) FROM evolving_book") == [[0]]
