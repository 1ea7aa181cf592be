"""The network between the nodes, which can be cut: each node is reached through a listener of ours.

What is on its way over a link that is cut waits, as it does in TCP, until the link is whole again or
somebody gives the connection up.  Who is at the other end of a connection is what its first request says.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any

SENDER = re.compile(rb"\r\nauthorization: *Raft 1 (\S+) ", re.IGNORECASE)
CHUNK = 1 << 16


class Links:
    """A thread that passes everything on, but for what goes over a link that is cut."""

    def __init__(self) -> None:
        self.held: set[frozenset[str]] = set()
        """Links over which something waited since they were cut."""
        self._cut: set[frozenset[str]] = set()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def listen(self, node: str, port: int, target: int) -> None:
        """Stand before a node: what comes to `port` goes to `target`."""

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._connect(node, target, reader, writer)
            writer.close()

        self._servers.append(self._call(asyncio.start_server(accept, "127.0.0.1", port)))

    def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Nothing goes between these any more, in neither direction."""
        self.held.clear()
        self._set({frozenset(pair) for pair in pairs})

    def heal(self) -> None:
        self._set(set())

    def close(self) -> None:
        """End it all, with all connections."""
        self._call(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _set(self, cut: set[frozenset[str]]) -> None:
        async def change() -> None:
            self._cut = cut
            self._changed.set()
            self._changed = asyncio.Event()

        self._call(change())

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _cancel_all(self) -> None:
        for server in self._servers:
            server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(
        self, node: str, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        first = b""
        while not (sender := SENDER.search(first)) and b"\r\n\r\n" not in first:
            if not (data := await reader.read(CHUNK)):
                return
            first += data
        link = frozenset({node, sender[1].decode() if sender else "?"})
        await self._whole(link)
        node_reader, node_writer = await asyncio.open_connection("127.0.0.1", target)
        try:
            node_writer.write(first)
            await asyncio.gather(
                self._pass_on(link, reader, node_writer), self._pass_on(link, node_reader, writer)
            )
        finally:
            node_writer.close()

    async def _pass_on(
        self, link: frozenset[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One direction, until its end; then the other direction has nobody to talk to, either."""
        try:
            while data := await reader.read(CHUNK):
                await self._whole(link)
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async def _whole(self, link: frozenset[str]) -> None:
        while link in self._cut:
            self.held.add(link)
            await self._changed.wait()
