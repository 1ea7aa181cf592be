"""A raftnode that answers `status` with what a test says, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from raftdjango import status as cluster_status
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
    "log_disk_bytes": 32 * 1024 * 1024,
    "members_told_ms": 0,
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
    "members_told_ms": None,
    "members": [
        {**row, "match_index": None, "lag": None, "last_contact_ms": None}
        for row in LEADER_STATUS["members"]
    ],
}
TOLD_STATUS: dict[str, Any] = {
    **LEADER_STATUS,
    "node": "n2",
    "role": "follower",
    "members_told_ms": 4000,
    "members": [
        {**LEADER_STATUS["members"][0], "last_contact_ms": 30},
        {**LEADER_STATUS["members"][1], "last_contact_ms": 0},
        {**LEADER_STATUS["members"][2], "lag": 0, "last_contact_ms": 4100},
    ],
}
"""A follower whose leader was last heard to tell 4 seconds ago."""


class FakeClient:
    """Only what a status needs of `NodeClient`."""

    def __init__(self, status: dict[str, Any] | None) -> None:
        self._status = status

    def status(self, *, timeout_s: float) -> dict[str, Any]:
        """The test's answer."""
        if self._status is None:
            raise ClusterUnavailable("Nothing was written: no raftnode answers at /x/node.sock")
        return self._status


@contextmanager
def raftnode_says(status: dict[str, Any] | None, alias: str = "default") -> Iterator[None]:
    """Have the raftnode of one alias give this status; None: it does not answer.

    Writes go their usual way.
    """
    before = cluster_status._client

    def client(asked: str) -> Any:
        return FakeClient(status) if asked == alias else before(asked)

    with mock.patch.object(cluster_status, "_client", client):
        yield
