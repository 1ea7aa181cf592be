"""What was signed once is taken once, whoever says it again and whenever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.cluster.harness import Cluster, dump, free_ports, wait_until
from tests.cluster.recorder import Recorder, say_again

REFUSED = {401, 409}


@pytest.fixture
def recorders(bare_cluster: Cluster) -> Iterator[dict[str, Recorder]]:
    """Somebody listens in on the way to each node."""
    found = {}
    with ExitStack() as stack:
        for name, port in zip(bare_cluster.names, free_ports(3), strict=True):
            bare_cluster.listen[name] = f"127.0.0.1:{port}"
            heard_at = urlsplit(bare_cluster.urls[name]).port
            assert heard_at
            recorder = Recorder(heard_at, ("127.0.0.1", port))
            found[name] = stack.enter_context(closing(recorder))
        yield found


def everything(cluster: Cluster, name: str) -> Any:
    """What a node knows: its database and its place in the protocol."""
    status = cluster.status(name)
    assert status
    facts = ("role", "term", "leader", "commit_index", "applied_index", "last_index")
    return dump(cluster.database(name)), {fact: status[fact] for fact in facts}


def test_recorded_requests_change_nothing(
    bare_cluster: Cluster, recorders: dict[str, Recorder]
) -> None:
    cluster = bare_cluster
    cluster.start()
    leader = cluster.leader()
    cluster.worker("n1").call("migrate")
    follower = next(name for name in cluster.names if name != leader)
    for name in cluster.names:
        cluster.worker(name).call("tour", name)
    cluster.assert_equal()
    heard = {name: list(recorder.answered) for name, recorder in recorders.items()}
    # Some ride in answers, which are not recorded.
    assert any(b"-got" in request for requests in heard.values() for request in requests)
    before = {name: everything(cluster, name) for name in cluster.names}

    for name in cluster.names:
        for request in heard[name]:
            assert say_again(request, recorders[name].target) in REFUSED, request[:300]
    for request in heard[follower][-20:]:  # and where it was not meant for
        assert say_again(request, recorders[leader].target) in REFUSED, request[:300]
    assert {name: everything(cluster, name) for name in cluster.names} == before

    cluster.kill(follower)
    cluster.start(follower)
    wait_until(lambda: cluster.status(follower), "the node to answer")
    cluster.leader()
    for request in heard[follower]:
        assert say_again(request, recorders[follower].target) in REFUSED, request[:300]
    assert {name: everything(cluster, name) for name in cluster.names} == before
    cluster.worker(follower).call("create_item", "after")
    cluster.assert_equal()
    cluster.assert_quiet_logs()
