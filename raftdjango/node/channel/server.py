"""The local channel: framed protobuf over a Unix socket, one connection per worker's client.

Only framing and the life of connections; what requests mean is in `sessions.py`.  File permissions
guard the socket: whoever may write the database file may write here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Protocol

from google.protobuf.message import DecodeError

from raftdjango.client import channel_pb2
from raftdjango.node.channel.frames import take, take_large
from raftdjango.node.limits import (
    CHANNEL_CONNECTIONS_MAX,
    CHANNEL_FRAME_OVERHEAD,
    CHANNEL_INPUT_BYTES_MAX,
)
from raftdjango.node.sockets import sending_at_once

if TYPE_CHECKING:
    from pathlib import Path

    from raftdjango.node.channel.frames import Taken

logger = logging.getLogger("raftdjango.node")

HEADER_BYTES = 4
SMALL_FRAME_BYTES = 256 * 1024
"""Frames up to this size are not counted: the sockets' own buffers bound them."""
LARGE_FRAME_BYTES = 32 * 1024
"""Larger ones are parsed on a thread: thousands of rows fit into a frame, and each is looked at."""


class Session(Protocol):
    """One connection's requests."""

    def request(self, taken: Taken) -> None:
        """Take a request; answers go through the connection given at the session's start."""

    def closed(self) -> None:
        """The worker is gone; what it proposed goes on."""


class Channel:
    """The socket of one group and its connections."""

    def __init__(self, path: Path, *, command_bytes_max: int, session: SessionFactory) -> None:
        self._path = path
        self._session = session
        self._server: asyncio.AbstractServer | None = None
        self._connections: set[Connection] = set()
        self._input_bytes = 0
        self._paused: list[Connection] = []
        self.frame_bytes_max = command_bytes_max + CHANNEL_FRAME_OVERHEAD

    def __len__(self) -> int:
        return len(self._connections)

    async def start(self) -> None:
        """Listen.  The caller holds the data directory's lock, so a file that is there is stale."""
        self._path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: Connection(self), path=str(self._path), backlog=512
        )
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Close every connection: clients come back to the node's successor and ask again."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for connection in list(self._connections):
            connection.close()

    def open_session(self, connection: Connection) -> Session | None:
        """Take a new connection, unless there are too many."""
        if len(self._connections) >= CHANNEL_CONNECTIONS_MAX:
            return None
        self._connections.add(connection)
        return self._session(connection)

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""
        self._connections.discard(connection)
        with contextlib.suppress(ValueError):
            self._paused.remove(connection)

    def reserve(self, connection: Connection, size: int) -> bool:
        """Count a large frame to come; False: the connection must pause until it is told to go on."""
        if self._input_bytes and self._input_bytes + size > CHANNEL_INPUT_BYTES_MAX:
            self._paused.append(connection)
            return False
        self._input_bytes += size
        return True

    def free(self, size: int) -> None:
        """A large frame was taken, or its connection is gone."""
        self._input_bytes -= size
        paused, self._paused = self._paused, []
        for connection in paused:
            connection.go_on()


class SessionFactory(Protocol):
    """Makes the session of a new connection."""

    def __call__(self, connection: Connection) -> Session: ...


class Connection(asyncio.Protocol):
    """One worker's connection: bytes to requests, answers to bytes."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._buffer = bytearray()
        self._reserved = 0
        self._parsing = False
        self._waiting = False
        """For room for a large frame."""
        self._answers_pile_up = False
        self._reading_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = sending_at_once(transport)
        self._session = self._channel.open_session(self)
        if self._session is None:
            self.refuse(0, channel_pb2.Refusal.BUSY, "too many workers are connected to this node")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._channel.forget(self)
        self._release()
        if self._session is not None:
            self._session.closed()
            self._session = None

    def data_received(self, data: bytes) -> None:
        size = len(data) - HEADER_BYTES
        small = not self._buffer and not self._is_held and 0 < size <= LARGE_FRAME_BYTES
        if small and int.from_bytes(data[:HEADER_BYTES], "big") == size:
            self._frame(data[HEADER_BYTES:])  # the usual case: one frame, whole
            return
        self._buffer += data
        self._frames()

    def pause_writing(self) -> None:
        """The worker does not take its answers: no more requests for now."""
        self._answers_pile_up = True
        self._look()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._answers_pile_up = False
        self._frames()

    def go_on(self) -> None:
        """Other large frames are done: try again to begin with ours."""
        self._waiting = False
        self._frames()

    def answer(self, answer: channel_pb2.Answer) -> None:
        """Send one answer; dropped when the worker is gone."""
        if self._transport is not None:
            data = answer.SerializeToString()
            self._transport.write(len(data).to_bytes(HEADER_BYTES, "big") + data)

    def refuse(self, sequence: int, reason: int, message: str) -> None:
        """Answer with a refusal."""
        answer = channel_pb2.Answer(sequence=sequence)
        answer.refusal.reason = reason  # type: ignore[assignment]
        answer.refusal.message = message
        self.answer(answer)

    def malformed(self, sequence: int, message: str) -> None:
        """Say so and close: what follows on a stream that went wrong cannot be trusted."""
        self.refuse(sequence, channel_pb2.Refusal.MALFORMED, message)
        self.close()

    def close(self) -> None:
        """Close once what was answered is sent."""
        if self._session is not None:
            self._session.closed()
            self._session = None
        if self._transport is not None:
            self._transport.close()

    @property
    def _is_held(self) -> bool:
        """Whether what comes has to wait."""
        return self._parsing or self._waiting or self._answers_pile_up

    def _look(self) -> None:
        """Read on, or no further: what is not read waits in the worker."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            if self._is_held and not self._reading_paused:
                self._reading_paused = True
                transport.pause_reading()
            elif not self._is_held and self._reading_paused:
                self._reading_paused = False
                transport.resume_reading()

    def _frames(self) -> None:
        """Take every whole frame that is there, then see whether to read on."""
        self._take_frames()
        self._look()

    def _take_frames(self) -> None:
        buffer = self._buffer
        while self._session is not None and not self._is_held and len(buffer) >= HEADER_BYTES:
            size = int.from_bytes(buffer[:HEADER_BYTES], "big")
            if size > self._channel.frame_bytes_max:
                bound = self._channel.frame_bytes_max
                self.malformed(0, f"a frame of {size} bytes; this node takes {bound}")
                return
            if size > SMALL_FRAME_BYTES and not self._reserve(size):
                return
            end = HEADER_BYTES + size
            if len(buffer) < end:
                return
            if size > LARGE_FRAME_BYTES:
                self._buffer = buffer[end:]
                self._parse_apart(buffer, end)
                return
            frame = bytes(buffer[HEADER_BYTES:end])
            del buffer[:end]
            self._frame(frame)
            self._release()

    def _frame(self, frame: bytes) -> None:
        try:
            taken = take(frame)
        except DecodeError:
            self._not_a_request()
            return
        if self._session is not None:
            self._session.request(taken)

    def _parse_apart(self, buffer: bytearray, end: int) -> None:
        """Parse a large frame on a thread, which gets the bytes; what comes behind it waits."""
        self._parsing = True
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(None, take_large, buffer, HEADER_BYTES, end)
        future.add_done_callback(self._parsed)

    def _parsed(self, future: asyncio.Future[Taken]) -> None:
        self._parsing = False
        if future.cancelled() or self._session is None or self._transport is None:
            future.cancelled() or future.exception()
            return
        try:
            self._session.request(future.result())
        except DecodeError:
            self._not_a_request()
        except Exception as error:
            # Whatever it was (no memory): a worker that hears nothing would wait in vain.
            logger.error("A request could not be taken.", exc_info=error)
            self.close()
        else:
            self._release()
            self._frames()

    def _not_a_request(self) -> None:
        self.malformed(0, "a frame that is no request of the local channel")

    def _reserve(self, size: int) -> bool:
        """Have room for a frame to come, or pause until there is."""
        if self._reserved:
            return True
        if self._channel.reserve(self, size):
            self._reserved = size
            return True
        self._waiting = True
        return False

    def _release(self) -> None:
        if self._reserved:
            reserved, self._reserved = self._reserved, 0
            self._channel.free(reserved)
