"""Three nodes with two databases each, for tests that come one label after another."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.cluster.harness import Cluster
from tests.django_suite.live.equality import Replicas
from tests.django_suite.live.settings import ALIASES


class LiveCluster(Cluster):
    """Each alias is a Raft group of its own; a node serves both."""

    def __init__(self, folder: Path) -> None:
        # Generous: what is tested here is not how soon an answer comes on a busy machine.
        super().__init__(folder, COMMIT_TIMEOUT_S=30)
        self.django_settings = "tests.django_suite.live.settings"

    def database(self, name: str, alias: str = "default") -> Path:
        return self.folder / name / f"{alias}.sqlite3"

    def environment(self, name: str) -> dict[str, str]:
        environment = super().environment(name)
        node: dict[str, Any] = json.loads(environment["CLUSTER_NODE"])
        node["databases"] = {alias: str(self.database(name, alias)) for alias in ALIASES}
        node["replicas"] = {alias: self.replicas(alias, name) for alias in ALIASES}
        return environment | {"CLUSTER_NODE": json.dumps(node)}

    def replicas(self, alias: str, first: str = "n1") -> list[str]:
        """The files of one database, that of a chosen node first."""
        names = [first, *(name for name in self.names if name != first)]
        return [str(self.database(name, alias)) for name in names]

    def index(self) -> int:
        """How many entries both logs have come to, as one node has applied them."""
        return self._sum(Replicas.index)

    def compare(self) -> int:
        """Compare both databases on all nodes, row for row; how many rows there were."""
        return self._sum(Replicas.compare)

    def _sum(self, ask: Callable[[Replicas], int]) -> int:
        total = 0
        for alias in ALIASES:
            with closing(Replicas(self.replicas(alias))) as replicas:
                total += ask(replicas)
        return total
