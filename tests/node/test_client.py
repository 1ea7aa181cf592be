"""A worker's client and its node: what is known of a call when either goes away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from raftdjango.exceptions import ClusterUnavailable, CommitUncertain
from raftdjango.writeset import Barrier, VerdictKind, decode_command
from tests.node.nodes import (
    GROUP,
    PATIENCE_S,
    Cluster,
    command,
    insert,
    make_table,
    wait_until,
)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(1) as cluster:
        cluster.start()
        cluster.leader()
        yield cluster


def test_without_a_raftnode_the_error_names_the_command():
    with Cluster(1) as cluster:
        client = cluster.client("n1")
        path = cluster.settings("n1").socket_path(GROUP)
        with pytest.raises(ClusterUnavailable, match=f"{path}; start it with: manage.py raftnode"):
            client.refresh(timeout_s=0.1)
        with pytest.raises(ClusterUnavailable, match="no raftnode answers"):
            client.propose(b"id", b"command", timeout_s=0.1)


def test_a_client_outlives_its_node(cluster):
    client = cluster.client("n1")
    version = make_table(client)
    cluster.crash("n1")
    answers: list = []
    proposal = command(insert(version, 1, "waited"), client=client)
    asking = threading.Thread(
        target=lambda: answers.append(client.propose(*proposal, timeout_s=PATIENCE_S))
    )
    asking.start()
    cluster.start("n1")
    asking.join(PATIENCE_S)
    assert answers[0].verdict.kind is VerdictKind.APPLIED
    assert cluster.rows("n1") == [(1, "waited")]


def test_a_restarted_node_leaves_an_idle_client_no_doubt(cluster):
    """The broken connection is noticed before anything is sent over it."""
    client = cluster.client("n1")
    client.refresh(timeout_s=PATIENCE_S)
    cluster.crash("n1")
    with pytest.raises(ClusterUnavailable):
        client.propose(b"id", b"command", timeout_s=0.1)


def test_a_node_that_dies_with_the_proposal_leaves_doubt(cluster):
    client = cluster.client("n1")
    client.refresh(timeout_s=PATIENCE_S)
    group = cluster.nodes["n1"].groups[GROUP]
    # The disk takes its time, so that the proposal is under way when the node dies.
    group.log.put = lambda effect: None
    doubts: list = []
    proposal = command(Barrier(), client=client)

    def propose() -> None:
        try:
            client.propose(*proposal, timeout_s=1.0)
        except CommitUncertain as doubt:
            doubts.append(doubt)

    asking = threading.Thread(target=propose)
    asking.start()
    wait_until(lambda: len(group.proposals), "the proposal")
    cluster.crash("n1")
    asking.join(PATIENCE_S)
    assert len(doubts) == 1


def test_a_stopping_node_takes_nothing_and_its_successor_does(cluster):
    client = cluster.client("n1")
    version = make_table(client)
    proposal = command(insert(version, 1, "later"), client=client)
    cluster.stop("n1")
    cluster.start("n1")
    assert client.propose(*proposal, timeout_s=PATIENCE_S).verdict.kind is VerdictKind.APPLIED


def test_a_forked_child_makes_a_connection_of_its_own(cluster):
    client = cluster.client("n1")
    client.refresh(timeout_s=PATIENCE_S)
    parents = client._stream
    client._stream._pid = -1  # as a child sees it
    client.refresh(timeout_s=PATIENCE_S)
    assert client._stream is not parents


def test_an_interrupted_call_does_not_leave_its_answer_to_the_next(cluster, monkeypatch):
    client = cluster.client("n1")
    client.refresh(timeout_s=PATIENCE_S)

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(client._stream, "_receive", interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.refresh(timeout_s=PATIENCE_S)
    assert client._stream is None
    assert client.status(timeout_s=PATIENCE_S)["node"] == "n1"


def test_cluster_time_goes_on_without_asking(cluster):
    client = cluster.client("n1")
    first = client.cluster_time_ms()
    cluster.crash("n1")
    wait_until(lambda: client.cluster_time_ms() > first, "time to pass")


def test_status_is_json_over_the_channel(cluster):
    status = cluster.client("n1").status(timeout_s=PATIENCE_S)
    assert json.loads(json.dumps(status)) == status
    assert status["queues"]["connections"] == 1


def test_an_expired_proposal_was_not_written(cluster):
    client = cluster.client("n1")
    proposal = command(Barrier(), client=client, expires_in_ms=0)
    wait_until(lambda: client.cluster_time_ms() > decode_command(proposal[1]).expires_at_ms, "it")
    with pytest.raises(ClusterUnavailable, match="after its deadline"):
        client.propose(*proposal, timeout_s=PATIENCE_S)
