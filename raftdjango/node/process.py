"""A raftnode: every replicated database of this machine in one process and one event loop.

It starts all or nothing, runs until it is told to stop or one of its logs fails, and stops in good
order: leadership handed over, what is under way ended, logs closed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from raftdjango.node.data_dir import DataDirLock
from raftdjango.node.errors import StartRefused
from raftdjango.node.group import Group
from raftdjango.node.http.server import HttpServer
from raftdjango.node.opening import check_before_writing, open_group
from raftdjango.node.peers.transport import Transport
from raftdjango.node.registry import set_running

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from raftdjango.conf import Settings
    from raftdjango.node.http.served import ServedNode
    from raftdjango.node.opening import OpenedGroup
    from raftdjango.node.peers.port import PeerTransport, Receiver

    TransportOf = Callable[[OpenedGroup, Receiver], PeerTransport]

logger = logging.getLogger("raftdjango.node")


class RaftNode:
    """See above.  `groups` by name."""

    def __init__(
        self,
        settings: Settings,
        databases: Mapping[str, Path],
        *,
        transport: TransportOf | None = None,
        with_http: bool = True,
    ) -> None:
        """`databases`: file by group name.  `transport` and `with_http` are for tests that bring a network of their own."""
        self.settings = settings
        self.databases = dict(databases)
        self.groups: dict[str, Group] = {}
        self.failure = ""
        """Why the node had to stop; empty where it did not."""
        self._transport_of = transport or self._http_transport
        self._lock = DataDirLock(settings.data_dir)
        self._http: HttpServer | None = HttpServer(cast("ServedNode", self)) if with_http else None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def start(self) -> None:
        """Open, listen, serve; raises `StartRefused` and leaves nothing open."""
        opened: list[OpenedGroup] = []
        try:
            check_before_writing(self.settings, self.databases)
            self._lock.acquire()
            for name, database in self.databases.items():
                opened.append(open_group(self.settings, name, database))
                self._add(opened[-1])
            if self._http is not None:
                await self._http.start()
            for group in self.groups.values():
                await group.start()
        except BaseException as error:
            await self._undo_start(opened)
            if isinstance(error, OSError):
                raise StartRefused(f"{error}. DATA_DIR is {self.settings.data_dir}.") from error
            raise
        set_running(self)
        logger.info(
            "raftnode %s started: %s, groups %s, data in %s",
            self.settings.node_id,
            self.settings.url,
            ", ".join(sorted(self.groups)),
            self.settings.data_dir,
        )

    async def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until told to stop, then stop.  `on_ready`: every group is, for the first time."""
        ready = asyncio.gather(*(group.first_ready for group in self.groups.values()))
        ready.add_done_callback(lambda done: on_ready() if _succeeded(done) else None)
        try:
            await self._stop.wait()
        finally:
            ready.cancel()
            await self.stop()

    def request_stop(self) -> None:
        """Stop in good order; asked twice, stop at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def stop(self) -> None:
        """Stop in good order, or at once where the node has failed or somebody is in a hurry."""
        if not self.failure and not self._hurry.is_set():
            logger.info("raftnode %s is stopping", self.settings.node_id)
            await self._unless_hurried(asyncio.gather(*(g.stop() for g in self.groups.values())))
        for group in self.groups.values():
            await group.abandon()
        if self._http is not None:
            await self._http.stop()
        set_running(None)
        self._lock.release()
        logger.info("raftnode %s has stopped", self.settings.node_id)

    async def _unless_hurried(self, stopping: asyncio.Future[list[None]]) -> None:
        hurry = asyncio.ensure_future(self._hurry.wait())
        both: set[asyncio.Future[Any]] = {stopping, hurry}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not stopping.done():
            stopping.cancel()
        await asyncio.gather(stopping, hurry, return_exceptions=True)

    def _add(self, opened: OpenedGroup) -> None:
        def transport(receiver: Receiver) -> PeerTransport:
            return self._transport_of(opened, receiver)

        self.groups[opened.name] = Group(opened, transport=transport, on_failure=self._fail)

    def _http_transport(self, opened: OpenedGroup, receiver: Receiver) -> PeerTransport:
        return Transport(
            self.settings,
            opened.name,
            self.settings.node_id,
            forming=opened.forming,
            receiver=receiver,
        )

    def _fail(self, why: str) -> None:
        if not self.failure:
            self.failure = why
            logger.critical("%s", why)
        self._stop.set()
        self._hurry.set()

    async def _undo_start(self, opened: list[OpenedGroup]) -> None:
        for group in self.groups.values():
            await group.abandon()
        for rest in opened[len(self.groups) :]:
            rest.close()
        if self._http is not None:
            await self._http.stop()
        self._lock.release()


def _succeeded(done: asyncio.Future[Any]) -> bool:
    # What gathers groups of which one was given up is not cancelled: it has failed.
    return not done.cancelled() and done.exception() is None
