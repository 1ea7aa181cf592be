"""Fixtures: a running, migrated cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import Cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture
def bare_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes, not started; every test ends with equal databases on the nodes that run."""
    # Generous: starting a node takes seconds where processors are shared.
    cluster = Cluster(tmp_path, COMMIT_TIMEOUT_S=30)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(bare_cluster: Cluster) -> Iterator[Cluster]:
    """Three running nodes with the project's tables."""
    bare_cluster.start()
    bare_cluster.leader()
    bare_cluster.worker("n1").call("migrate")
    yield bare_cluster
    bare_cluster.assert_equal()
    bare_cluster.assert_quiet_logs()
