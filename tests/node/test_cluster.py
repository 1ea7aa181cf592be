"""Three nodes in one process: writes through any of them, and the loss of each."""

from __future__ import annotations

import pytest

from raftdjango.writeset import VerdictKind
from tests.node.nodes import PATIENCE_S, Cluster, command, insert, make_table


@pytest.fixture
def cluster():
    with Cluster(3) as cluster:
        yield cluster.start()


def test_a_write_on_any_node_shows_on_every_node(cluster):
    cluster.leader()
    clients = {name: cluster.client(name) for name in cluster.names}
    version = make_table(clients["n1"])
    for key, client in enumerate(clients.values(), start=1):
        client.refresh(timeout_s=PATIENCE_S)
        proposal = command(insert(version, key, f"note {key}"), client=client)
        outcome = client.propose(*proposal, timeout_s=PATIENCE_S)
        assert outcome.verdict.kind is VerdictKind.APPLIED
    cluster.level()
    expected = [(1, "note 1"), (2, "note 2"), (3, "note 3")]
    assert [cluster.rows(name) for name in cluster.names] == [expected] * 3
