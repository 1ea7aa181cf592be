"""A raftnode that answers `status` with what a test says, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from raftdjango import client
from raftdjango.exceptions import ClusterUnavailable

LEADER_STATUS: dict[str, Any] = {
    "node": "n1",
    "cluster_id": "5f0c7d1e9a",
    "role": "leader",
    "term": 7,
    "leader": "n1",
    "commit_index": 123456,
    "applied_index": 123450,
    "log_bytes": 3 * 1024 * 1024,
    "members": [
        {
            "id": "n1",
            "address": "http://127.0.0.1:7001",
            "role": "leader",
            "match_index": 123456,
            "lag": 0,
            "last_contact_ms": 0,
        },
        {
            "id": "n2",
            "address": "http://127.0.0.1:7002",
            "role": "follower",
            "match_index": 120000,
            "lag": 3456,
            "last_contact_ms": 40,
        },
        {
            "id": "n3",
            "address": "http://127.0.0.1:7003",
            "role": "follower",
            "match_index": 100,
            "lag": 123356,
            "last_contact_ms": 65000,
        },
    ],
}
FOLLOWER_STATUS: dict[str, Any] = {
    **LEADER_STATUS,
    "node": "n2",
    "role": "follower",
    "members": [
        {**row, "match_index": None, "lag": None, "last_contact_ms": None}
        for row in LEADER_STATUS["members"]
    ],
}


class FakeClient:
    """Only what a status needs of `NodeClient`."""

    def __init__(self, status: dict[str, Any] | None) -> None:
        self._status = status
        self.closed = False

    def status(self, *, timeout_s: float) -> dict[str, Any]:
        """The test's answer."""
        if self._status is None:
            raise ClusterUnavailable("Nothing was written: no raftnode answers at /x/node.sock")
        return self._status

    def close(self) -> None:
        """Remember that it was asked to."""
        self.closed = True


@contextmanager
def raftnode_says(status: dict[str, Any] | None, alias: str = "default") -> Iterator[FakeClient]:
    """Have `connect(alias)` give a client whose raftnode says this; None: it does not answer."""
    fake = FakeClient(status)
    before = client._factories.get(alias)
    client.use_client(alias, lambda: fake)  # type: ignore[arg-type, return-value]
    try:
        yield fake
    finally:
        client.use_client(alias, before)
