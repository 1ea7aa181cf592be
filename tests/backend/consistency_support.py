"""What tests of consistency share: a clock of their own, and a node that lags until it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from raftdjango.backends.sqlite3.reads import freshness
from raftdjango.backends.sqlite3.transactions import commit
from raftdjango.consistency import scopes
from raftdjango.exceptions import ClusterUnavailable
from tests.backend.helpers import elsewhere
from tests.backend.models import Account

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """Time that passes when a test says so, and a little with every look."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        self.now += 0.000_001
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Node:
    """This machine's node, which lags behind the others until it is asked to catch up."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        """The timeout of each question."""
        self.meanwhile: list[Callable[[], Any]] = []
        """What others did and this machine does not show yet."""
        self.down = False
        self.client = connection.replication.client
        self._refresh = self.client.refresh

    def refresh(self, *, timeout_s: float) -> int:
        self.asked.append(timeout_s)
        if self.down:
            raise ClusterUnavailable("Nothing was written: no raftnode answers.")
        meanwhile, self.meanwhile = self.meanwhile, []
        for change in meanwhile:
            elsewhere(change)
        return self._refresh(timeout_s=timeout_s)

    def behind(self, change: Callable[[], Any]) -> None:
        """Another node has committed this."""
        self.meanwhile.append(change)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (freshness, commit, scopes):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(freshness, "_proven", {})
    return clock


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Node:
    """With one account, `ada`, that has 0; others have set it to 7, which does not show yet."""
    connection.ensure_connection()
    node = Node()
    monkeypatch.setattr(node.client, "refresh", node.refresh, raising=False)
    Account.objects.create(name="ada")
    node.behind(lambda: Account.objects.filter(name="ada").update(balance=7))
    return node


def balance() -> int:
    return Account.objects.get(name="ada").balance
