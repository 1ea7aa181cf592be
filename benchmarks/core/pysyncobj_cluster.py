"""The same work for PySyncObj: three nodes in one process, messages pickled from one to the next.

Its own way to the network pickles too, and then compresses and writes to a socket; none of that is
here, as none of it is in our numbers.  No journal: entries are in memory on both sides.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from typing import Any

from benchmarks.core.work import seconds

try:
    from pysyncobj import SyncObj, SyncObjConf, replicated
    from pysyncobj.node import Node
    from pysyncobj.transport import Transport
except ImportError:  # the extra is not installed
    INSTALLED = False
else:
    INSTALLED = True

    class Memory(Transport):
        """Delivers into the other node's queue."""

        def __init__(self, sync_obj: SyncObj, self_node: Node, other_nodes: list[Node]) -> None:
            super().__init__(sync_obj, self_node, other_nodes)
            self.node = self_node
            self.peers: dict[str, Memory] = {}
            self.inbox: deque[tuple[Node, bytes]] = deque()

        def connect(self, others: list[Memory]) -> None:
            for other in others:
                self.peers[other.node.id] = other
                self._onNodeConnected(other.node)

        def send(self, node: Node, message: Any) -> bool:
            if node.id not in self.peers:
                return False
            self.peers[node.id].inbox.append((self.node, pickle.dumps(message, protocol=4)))
            return True

        def deliver(self) -> bool:
            some = bool(self.inbox)
            while self.inbox:
                sender, data = self.inbox.popleft()
                self._onMessageReceived(sender, pickle.loads(data))
            return some

    class Counter(SyncObj):
        """A state machine that counts commands."""

        def __init__(self, name: str, names: str) -> None:
            self.count = 0
            conf = SyncObjConf(autoTick=False, dynamicMembershipChange=False)
            conf.appendEntriesUseBatch = True
            others = [Node(other) for other in names if other != name]
            super().__init__(Node(name), others, conf=conf, transportClass=Memory)

        @replicated
        def add(self, data: bytes) -> None:
            self.count += 1

        def send_at_once(self) -> None:
            """Let the next turn send what there is, rather than wait for the period's end."""
            self._SyncObj__newAppendEntriesTime = 0

        @property
        def memory(self) -> Memory:
            return self._SyncObj__transport


class Cluster:
    """Nodes that are turned by hand."""

    def __init__(self, members: int) -> None:
        names = "abcdefghi"[:members]
        self.nodes = [Counter(name, names) for name in names]
        for node in self.nodes:
            node.memory.connect([other.memory for other in self.nodes if other is not node])
        deadline = time.monotonic() + 30
        while not all(node._isReady() for node in self.nodes):
            self.turn()
            if time.monotonic() > deadline:
                raise TimeoutError("PySyncObj elected nobody")
        self.leader = next(node for node in self.nodes if node._isLeader())

    def turn(self) -> None:
        for node in self.nodes:
            node.send_at_once()
            node.doTick(0.0)
        for node in self.nodes:
            node.memory.deliver()

    def replicate(self, count: int, batch: int, data: bytes) -> None:
        for done in range(batch, count + 1, batch):
            for _ in range(batch):
                self.leader.add(data)
            while min(node.count for node in self.nodes) < done:
                self.turn()


def replicated_entries(count: int, *, batch: int, members: int = 3, size: int = 100) -> float:
    """Entries per second, proposed at the leader in batches and applied by everybody."""
    cluster = Cluster(members)
    count = count // batch * batch
    taken = seconds(lambda: cluster.replicate(count, batch, bytes(size)))
    for node in cluster.nodes:
        node.destroy()
    return count / taken
