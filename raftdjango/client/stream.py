"""One connection to the local channel: frames over a blocking Unix socket.

Every failure is a `ConnectionLost`; what it means for a proposal is the client's business.
"""

from __future__ import annotations

import os
import select
import socket
import time
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from raftdjango.client import channel_pb2

if TYPE_CHECKING:
    from pathlib import Path

HEADER_BYTES = 4
ANSWER_BYTES_MAX = 512 * 1024 * 1024
RECEIVE_BYTES = 16 * 1024
TIMEOUT_STEP_S = 0.1
"""A wait may last so much longer: setting another timeout for every call would be a system call each."""


class ConnectionLost(Exception):
    """The raftnode cannot be reached, or went away; or the deadline passed (`timed_out`)."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class Stream:
    """A connected socket that belongs to one process."""

    def __init__(self, path: Path, deadline: float) -> None:
        """Connect; raises `ConnectionLost`."""
        self._pid = os.getpid()
        self._sequence = 0
        self._buffer = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._timeout_steps = 0
        try:
            self._wait_until(deadline)
            self._socket.connect(os.fspath(path))
        except OSError as error:
            self._socket.close()
            raise ConnectionLost(str(error), timed_out=isinstance(error, TimeoutError)) from error
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    @property
    def is_ours(self) -> bool:
        """False in a child after a fork: the parent goes on using the socket."""
        return self._pid == os.getpid()

    @property
    def is_open(self) -> bool:
        """False once the raftnode is known to be gone: asked before a request is sent, so that a
        proposal to a node that was restarted meanwhile leaves no doubt."""
        # Nothing is owed to us now, so whatever is there is the end, or a parting word.
        return not self._poll.poll(0)

    def close(self) -> None:
        """Close this process' end."""
        self._socket.close()

    def ask(self, request: channel_pb2.Request, deadline: float) -> channel_pb2.Answer:
        """Send one request and wait for its answer."""
        self._sequence += 1
        request.sequence = self._sequence
        data = request.SerializeToString()
        try:
            self._wait_until(deadline)
            self._socket.sendall(len(data).to_bytes(HEADER_BYTES, "big") + data)
        except TimeoutError as error:
            raise ConnectionLost(
                "the raftnode does not take the request", timed_out=True
            ) from error
        except OSError as error:
            # A refusal may have come before the node closed; it says more than a broken pipe.
            return self._parting_answer(error)
        while True:
            answer = self._receive(deadline)
            if answer.sequence in (self._sequence, 0):
                return answer

    def _parting_answer(self, error: OSError) -> channel_pb2.Answer:
        try:
            return self._receive(time.monotonic() + 1.0)
        except ConnectionLost:
            raise ConnectionLost(str(error)) from error

    def _receive(self, deadline: float) -> channel_pb2.Answer:
        buffer = self._buffer
        if not buffer:
            data = self._read(RECEIVE_BYTES, deadline)
            if int.from_bytes(data[:HEADER_BYTES], "big") == len(data) - HEADER_BYTES:
                return _answer(data[HEADER_BYTES:])  # the usual case: one answer, whole
            buffer += data
        size = -1
        while True:
            if size < 0 and len(buffer) >= HEADER_BYTES:
                size = int.from_bytes(buffer[:HEADER_BYTES], "big")
                if size > ANSWER_BYTES_MAX:
                    raise ConnectionLost(f"an answer of {size} bytes")
            if 0 <= size <= len(buffer) - HEADER_BYTES:
                frame = bytes(buffer[HEADER_BYTES : HEADER_BYTES + size])
                del buffer[: HEADER_BYTES + size]
                return _answer(frame)
            buffer += self._read(max(RECEIVE_BYTES, min(size, 1024 * 1024)), deadline)

    def _read(self, count: int, deadline: float) -> bytes:
        try:
            self._wait_until(deadline)
            data = self._socket.recv(count)
        except TimeoutError as error:
            raise ConnectionLost("the raftnode did not answer in time", timed_out=True) from error
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        if not data:
            raise ConnectionLost("the raftnode closed the connection")
        return data

    def _wait_until(self, deadline: float) -> None:
        """Have the socket's next call time out at the deadline, or a step later."""
        # Never zero, which would mean a socket that does not block at all.
        steps = max(int((deadline - time.monotonic()) / TIMEOUT_STEP_S) + 1, 1)
        if steps != self._timeout_steps:
            self._timeout_steps = steps
            self._socket.settimeout(steps * TIMEOUT_STEP_S)


def _answer(frame: bytes) -> channel_pb2.Answer:
    try:
        return channel_pb2.Answer.FromString(frame)
    except DecodeError as error:
        raise ConnectionLost("an answer that cannot be read") from error
