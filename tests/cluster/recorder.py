"""Somebody on the wire: passes on what is said to a node, and remembers it."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
from contextlib import suppress

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Recorder(socketserver.ThreadingTCPServer):
    """Listens where a node is reached, and passes everything on to where it listens."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.target = target
        self.answered: list[bytes] = []
        """Whole requests, head and body, that the node has begun to answer."""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Connection(socketserver.BaseRequestHandler):
    server: Recorder

    def handle(self) -> None:
        try:
            node = socket.create_connection(self.server.target, 10)
        except OSError:
            return  # The node is down, and so its address is silent.
        node.settimeout(None)
        self._heard = b""
        with node:
            back = threading.Thread(target=self._answers, args=(node,), daemon=True)
            back.start()
            with suppress(OSError):
                while data := self.request.recv(1 << 16):
                    self._heard += data
                    node.sendall(data)
            with suppress(OSError):
                node.shutdown(socket.SHUT_RDWR)
            back.join()

    def _answers(self, node: socket.socket) -> None:
        with suppress(OSError):
            while data := node.recv(1 << 16):
                # An answer begins once its request has come whole, and requests wait for answers.
                if request := _whole(self._heard):
                    self._heard = self._heard[len(request) :]
                    self.server.answered.append(request)
                self.request.sendall(data)
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)


def _whole(heard: bytes) -> bytes:
    """The first request, if all of it is there."""
    head, end, rest = heard.partition(b"\r\n\r\n")
    length = LENGTH.search(head + b"\r\n")
    size = int(length[1]) if length else 0
    return heard[: len(head) + len(end) + size] if end and len(rest) >= size else b""


def say_again(request: bytes, address: tuple[str, int]) -> int:
    """Send a recorded request, byte by byte what it was; the status that it is answered with."""
    with socket.create_connection(address, 10) as connection:
        connection.sendall(request)
        answer = b""
        while not (status := STATUS.match(answer)):
            data = connection.recv(1 << 16)
            assert data, f"no answer to {request[:200]!r}"
            answer += data
    return int(status[1])
