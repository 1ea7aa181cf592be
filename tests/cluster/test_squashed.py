"""Squashed migrations, and the commands about migrations, on three nodes that were there before them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.harness import Cluster, Worker, dump

SQUASH = "0001_squashed_0006_tidy"
LAST = "0006_tidy"
COUNT = 50
RECORDED = "SELECT name FROM django_migrations WHERE app = 'evolving' ORDER BY name"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes for all tests here."""
    cluster = Cluster(tmp_path_factory.mktemp("squashed"), COMMIT_TIMEOUT_S=30)
    deploy(cluster, "settings")
    try:
        cluster.start()
        cluster.leader()
        yield cluster
        cluster.assert_quiet_logs()
    finally:
        cluster.close()


@pytest.fixture
def evolving(shared: Cluster) -> Iterator[Cluster]:
    """The first migration's table with rows in it, whatever the last test has left."""
    deploy(shared, "settings")
    shared.worker("n1").call("start_over", COUNT)
    yield shared
    shared.assert_equal()
    shared.dismiss_workers()


def deploy(cluster: Cluster, release: str) -> None:
    """What is started from now on has this release's migrations."""
    cluster.django_settings = f"tests.cluster.evolving.{release}"


def migrate_everywhere_at_once(cluster: Cluster, *arguments: str) -> None:
    workers = [cluster.worker(name) for name in cluster.names]
    for worker in workers:
        worker.begin("command", "migrate", "evolving", *arguments)
    for worker in workers:
        worker.result()


@contextmanager
def writers(cluster: Cluster, folder: Path) -> Iterator[None]:
    """Workers on two nodes that write meanwhile, of whom none may fail."""
    stop = folder / "stop"
    workers = [cluster.worker(name) for name in cluster.names[:2]]
    for number, worker in enumerate(workers):
        worker.begin("write_until", str(stop), f"writer {number} of {folder.name}")
    try:
        yield
    finally:
        stop.touch()
    for worker in workers:
        written = worker.result()
        assert written["acknowledged"]
        assert written["failed"] == []


def recorded(worker: Worker) -> list[str]:
    return [name for (name,) in worker.call("rows", RECORDED)]


def cents(worker: Worker) -> list[int]:
    return sorted(book[2] for book in worker.call("books"))


def test_where_all_were_applied_the_squash_is_only_recorded(
    evolving: Cluster, tmp_path: Path
) -> None:
    worker = evolving.worker("n1")
    worker.call("migrate_to", LAST)
    evolving.assert_equal()
    schema = dump(evolving.database("n3"))["sqlite_master"]
    before = recorded(worker)
    deploy(evolving, "squashed.settings")
    with writers(evolving, tmp_path):
        migrate_everywhere_at_once(evolving)
    evolving.assert_equal()
    assert recorded(worker) == sorted([*before, SQUASH])
    assert dump(evolving.database("n3"))["sqlite_master"] == schema
    assert cents(worker) == [n * 25 for n in range(COUNT)]

    deploy(evolving, "pruned.settings")
    migrate_everywhere_at_once(evolving, "--prune")
    later = evolving.worker("n3")
    evolving.assert_equal()
    assert recorded(later) == [SQUASH]
    assert later.call("said", "showmigrations", "evolving").split() == ["evolving", "[X]", SQUASH]
    later.call("migrate_to", "zero")
    assert recorded(later) == []
    evolving.assert_equal()
    assert "evolving_" not in str(dump(evolving.database("n1"))["sqlite_master"])


def test_a_new_cluster_begins_with_the_squash(evolving: Cluster, tmp_path: Path) -> None:
    evolving.worker("n1").call("migrate_to", "zero")
    deploy(evolving, "squashed.settings")
    with writers(evolving, tmp_path):
        migrate_everywhere_at_once(evolving)
    worker = evolving.worker("n3")
    assert len(recorded(worker)) == 7
    assert "No changes" in worker.call("said", "makemigrations", "--check", "--dry-run")
    worker.call("migrate_to", "zero")
    assert recorded(worker) == []


def test_where_some_were_applied_the_rest_of_them_follow(evolving: Cluster, tmp_path: Path) -> None:
    worker = evolving.worker("n2")
    worker.call("migrate_to", "0003")
    deploy(evolving, "squashed.settings")
    with writers(evolving, tmp_path):
        migrate_everywhere_at_once(evolving)
    evolving.assert_equal()
    assert len(recorded(worker)) == 7
    assert cents(worker) == [n * 25 for n in range(COUNT)]


def test_pruning_is_for_the_one_with_the_lock_even_where_it_is_to_check_besides(
    evolving: Cluster,
) -> None:
    """Django prunes before it looks at --check and --plan."""
    evolving.worker("n1").call("migrate_to", LAST)
    deploy(evolving, "squashed.settings")
    evolving.worker("n1").call("migrate_to", LAST)
    deploy(evolving, "pruned.settings")
    worker = evolving.worker("n2")
    fences = worker.call("fences_of", "migrate", "evolving", "--prune", "--check")
    assert len(fences) == 6
    assert all(fences)
    assert recorded(worker) == [SQUASH]


def test_fakes(evolving: Cluster) -> None:
    """Tables that are there and not recorded, and the other way round."""
    worker = evolving.worker("n2")
    worker.call("migrate_to", "zero", "--fake")
    assert recorded(worker) == []
    said = worker.call("said", "migrate", "evolving", "0001", "--fake-initial")
    assert "Applying evolving.0001_initial... FAKED" in said
    assert worker.call("rows", "SELECT count(*) FROM evolving_book") == [[COUNT]]
    worker.call("command", "migrate", "evolving", "--fake")
    assert len(recorded(worker)) == 6


def test_commands_that_say_something(evolving: Cluster) -> None:
    worker = evolving.worker("n2")
    worker.call("migrate_to", LAST)
    said = {
        command: worker.call("said", command, *arguments.split())
        for command, arguments in {
            "showmigrations": "evolving --plan",
            "sqlflush": "",
            "sqlsequencereset": "project evolving",
            "inspectdb": "evolving_book evolving_shelf evolving_book_related",
            "optimizemigration": "evolving 0003",
        }.items()
    }
    assert said["showmigrations"].count("[X]") == 6
    assert 'DELETE FROM "evolving_book"' in said["sqlflush"]
    assert "raftdjango_" not in said["sqlflush"], "the product's own tables"
    assert said["inspectdb"].count("class Evolving") == 3
    assert "ForeignKey('EvolvingShelf'" in said["inspectdb"]
    assert "No optimizations possible." in said["optimizemigration"]
    # What is said can be done, by somebody who pastes it into a cursor.
    worker.call("execute_all", said["sqlflush"] + said["sqlsequencereset"])
    assert cents(worker) == []
