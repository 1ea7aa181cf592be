"""An in-memory network between nodes of one event loop, which tests can cut."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raftdjango.node.opening import OpenedGroup
    from raftdjango.node.peers.port import PeerItem, Receiver


class MemoryNetwork:
    """Carries items between the receivers that joined it, in batches per turn of the loop."""

    def __init__(self) -> None:
        self.transports: dict[tuple[str, str], MemoryTransport] = {}
        self.cut: set[frozenset[str]] = set()
        """Pairs of node ids that do not hear each other."""
        self.isolated: set[str] = set()
        self.sent: dict[str, int] = defaultdict(int)
        """Items by the name of their type."""

    def connect(self, opened: OpenedGroup, receiver: Receiver) -> MemoryTransport:
        """A transport for one group of one node."""
        return MemoryTransport(self, opened, receiver)

    def hears(self, sender: str, receiver: str) -> bool:
        """Whether what one sends reaches the other."""
        pair = frozenset((sender, receiver))
        return pair not in self.cut and not pair & self.isolated


class MemoryTransport:
    """A `PeerTransport` over a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, opened: OpenedGroup, receiver: Receiver) -> None:
        self._network = network
        self._group = opened.name
        self._node_id = opened.settings.node_id
        self._receiver = receiver
        self.forming = opened.forming
        self._queued: dict[str, list[PeerItem]] = {}

    async def start(self) -> None:
        self._network.transports[self._group, self._node_id] = self

    async def stop(self) -> None:
        self._network.transports.pop((self._group, self._node_id), None)

    def send(self, to: str, item: PeerItem) -> None:
        self._network.sent[type(item).__name__] += 1
        if to not in self._queued:
            self._queued[to] = []
            asyncio.get_running_loop().call_soon(self._deliver, to)
        self._queued[to].append(item)

    def flush(self) -> None:
        pass

    def _deliver(self, to: str) -> None:
        items = self._queued.pop(to)
        peer = self._network.transports.get((self._group, to))
        if peer is None or not self._network.hears(self._node_id, to):
            self._receiver.on_undelivered(to, items)
            return
        peer.forming.admit(self.forming.standing)
        peer._receiver.on_batch(self._node_id, items)
