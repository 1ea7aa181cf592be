"""Nodes without a core: the real transport, signatures and HTTP server, and a list of what arrived."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raftdjango.conf import Settings
from raftdjango.node.forming.decisions import Forming
from raftdjango.node.http.server import HttpServer
from raftdjango.node.peers.transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from raftdjango.node.peers.port import PeerItem

GROUP = "default"
SECRET = "correct horse"


@dataclass
class Group:
    """A group whose node writes down what it is told."""

    node_id: str
    transport: Transport = None  # type: ignore[assignment]
    arrived: list[tuple[str, PeerItem]] = field(default_factory=list)
    lost: list[tuple[str, PeerItem]] = field(default_factory=list)
    on_arrival: Callable[[str, PeerItem], None] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def on_batch(self, sender: str, items: Sequence[PeerItem]) -> None:
        for item in items:
            self.arrived.append((sender, item))
            if self.on_arrival:
                self.on_arrival(sender, item)

    def on_undelivered(self, to: str, items: Sequence[PeerItem]) -> None:
        self.lost.extend((to, item) for item in items)

    def status(self) -> dict[str, Any]:
        return self.facts

    @property
    def items(self) -> list[PeerItem]:
        return [item for _, item in self.arrived]


@dataclass
class Node:
    """A raftnode as its endpoints see it."""

    settings: Settings
    groups: dict[str, Group]
    server: HttpServer = None  # type: ignore[assignment]
    forming: Forming = None  # type: ignore[assignment]

    @property
    def group(self) -> Group:
        return self.groups[GROUP]

    @property
    def transport(self) -> Transport:
        return self.group.transport

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.address[1]}"

    async def listen(self) -> None:
        self.server = HttpServer(self)
        await self.server.start()

    async def join(self, nodes: dict[str, str], memory: Path | None = None) -> None:
        """Begin to speak to peers."""
        node_id = self.settings.node_id
        incarnation = node_id.encode().ljust(16, b".")
        self.forming = Forming(GROUP, node_id, nodes, incarnation, memory=memory)
        self.group.transport = Transport(
            self.settings, GROUP, node_id, forming=self.forming, receiver=self.group
        )
        await self.transport.start()

    async def stop(self) -> None:
        if self.transport is not None:
            await self.transport.stop()
        await self.server.stop()


def make_node(node_id: str, **settings: Any) -> Node:
    """A node that will listen on a free port of loopback."""
    given = {
        "node_id": node_id,
        "nodes": {node_id: "http://127.0.0.1:0"},
        "listen": "127.0.0.1:0",
        "secret": SECRET,
        "election_timeout_ms": 600,
        "heartbeat_ms": 60,
    }
    return Node(Settings(**{**given, **settings}), {GROUP: Group(node_id)})


@contextlib.asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[tuple[Node, ...]]:
    """The nodes, started, each knowing the others' addresses."""
    try:
        for node in nodes:
            await node.listen()
        urls = {node.settings.node_id: node.url for node in nodes}
        for node in nodes:
            await node.join(urls)
        yield nodes
    finally:
        for node in nodes:
            if node.server is not None:
                await node.stop()


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait for a condition, looking again whenever the loop has turned."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.002)
