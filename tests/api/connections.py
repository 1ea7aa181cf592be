"""Connections to a node's HTTP server, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from tests.api.callers import PATH, PROTOBUF, Caller
from tests.api.nodes import Node, make_node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LIVE = b"GET /raft/v1/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
READY = b"GET /raft/v1/health/ready HTTP/1.1\r\nHost: x\r\n\r\n"
GONE = b"GET /gone HTTP/1.1\r\nHost: x\r\n\r\n"


class Client:
    """One connection; reads answers apart."""

    opened: list[Client] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.opened.append(self)

    @classmethod
    async def to(cls, node: Node) -> Client:
        return cls(*await asyncio.open_connection(*node.server.address))

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = (line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), {name.lower(): value for name, value in fields}

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        return status, headers, await self.reader.readexactly(int(headers["content-length"]))

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(data)
        return await self.answer()

    async def ended(self) -> bool:
        with contextlib.suppress(ConnectionError):
            return await self.reader.read(1) == b""
        return True


def with_node(
    scenario: Callable[[Node], Awaitable[None]], *, loop_factory: Any = asyncio.new_event_loop
) -> None:
    async def main() -> None:
        node = make_node("n2")
        await node.listen()
        try:
            await node.join({"n1": "http://127.0.0.1:9", "n2": node.url})
            async with asyncio.timeout(30):
                await scenario(node)
        finally:
            await node.stop()
            for client in Client.opened:
                client.writer.transport.abort()
            await asyncio.sleep(0)
            Client.opened.clear()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def signed(node: Node, body: bytes, **headers: str) -> bytes:
    """A peer's request, on the wire."""
    given = {
        "Host": "x",
        "Content-Type": PROTOBUF,
        "Authorization": Caller(node).sign(body),
        "Content-Length": str(len(body)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
    return f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode()
