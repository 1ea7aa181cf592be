"""Whatever bytes come, the endpoints answer and go on serving."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from typing import Any

import requests

from raftdjango.node.http.request import BODY_BYTES_MAX
from raftdjango.node.peers.batches import encode_batch
from raftdjango.node.peers.peer_pb2 import Batch, Fragment
from tests.api.callers import HEARTBEAT, PATH, PROTOBUF, Caller, refusal, still_serves, with_node
from tests.api.nodes import Node


class TestBadBytes:
    def test_malformed_protobuf(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            bodies = [
                b"\xff",
                b"\x00" * 100,
                Batch(raft=[b"\xff\xff"]).SerializeToString(),
                Batch(raft=[b""]).SerializeToString(),
                encode_batch([HEARTBEAT])[:-1],
                Batch(fragment=Fragment(digest=b"x", size=5, data=b"12345")).SerializeToString(),
                Batch(
                    fragment=Fragment(digest=b"x" * 16, offset=9, size=5, data=b"1")
                ).SerializeToString(),
                Batch(fragment=Fragment(digest=b"x" * 16, size=3, data=b"123")).SerializeToString(),
            ]
            for body in bodies:
                assert refusal(n1.post(body)) == (400, "malformed"), body
            assert not n2.group.arrived
            still_serves(n2, n1)

        with_node(scenario)

    def test_a_batch_is_taken_whole_or_not_at_all(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            good = Batch.FromString(encode_batch([HEARTBEAT])).raft[0]
            assert refusal(n1.post(Batch(raft=[good, b"\xff"]).SerializeToString()))[0] == 400
            assert not n2.group.arrived

        with_node(scenario)

    def test_too_large_announced_or_not(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            body = bytes(BODY_BYTES_MAX + 1)
            assert refusal(n1.post(body)) == (413, "too_large")
            chunks = (bytes(1024 * 1024) for _ in range(6))
            headers = {"Content-Type": PROTOBUF, "Authorization": "Raft 1"}
            try:
                response = requests.post(n2.url + PATH, data=chunks, headers=headers, timeout=10)
            except requests.ConnectionError:
                pass  # It stopped listening while we were still talking, which is its right.
            else:
                assert refusal(response) == (413, "too_large")
            huge = Fragment(digest=b"x" * 16, size=1 << 40, data=b"1")
            assert refusal(n1.post(Batch(fragment=huge).SerializeToString())) == (413, "too_large")
            still_serves(n2, n1)

        with_node(scenario)

    def test_what_is_not_http(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            noise = [
                b"\x16\x03\x01\x02\x00\x01",
                b"hello\r\n\r\n",
                b"\x00" * 4096,
            ]
            for bytes_sent in noise:
                with socket.create_connection(n2.server.address, 10) as sock:
                    sock.settimeout(10)
                    sock.sendall(bytes_sent)
                    head, _, body = sock.makefile("rb").read().partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 400 ")
                assert json.loads(body)["code"] == "malformed"
            still_serves(n2, n1)

        with_node(scenario)

    def test_content_length_that_is_none(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            for length in (b"-1", b"1e3", b"9" * 40, b"\xb2"):
                with socket.create_connection(n2.server.address, 10) as sock:
                    sock.settimeout(10)
                    sock.sendall(
                        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n"
                        % (PATH.encode(), length)
                    )
                    assert b" 400 " in sock.makefile("rb").readline()
            still_serves(n2, n1)

        with_node(scenario)

    def test_what_is_announced_too_large_is_not_waited_for(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            with socket.create_connection(n2.server.address, 10) as sock:
                sock.settimeout(10)
                head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES_MAX + 1}\r\n\r\n"
                sock.sendall(head.encode())
                assert b" 413 " in sock.makefile("rb").readline()
            still_serves(n2, n1)

        with_node(scenario)

    def test_a_head_without_end(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            for line in (b"X-A: " + b"a" * 200_000, b"X-B: b\r\n" * 30_000):
                with socket.create_connection(n2.server.address, 10) as sock:
                    sock.settimeout(10)
                    sock.sendall(b"GET /raft/v1/health/live HTTP/1.1\r\n")
                    with contextlib.suppress(ConnectionError):
                        sock.sendall(line)
                        assert b" 400 " in sock.makefile("rb").readline()
            still_serves(n2, n1)

        with_node(scenario)

    def test_a_head_that_never_comes(self, monkeypatch: Any) -> None:
        monkeypatch.setattr("raftdjango.node.http.protocol.HEAD_S", 0.05)

        def scenario(n2: Node, n1: Caller) -> None:
            with socket.create_connection(n2.server.address, 10) as sock:
                sock.settimeout(10)
                sock.sendall(b"GET /raft")
                assert sock.recv(100) == b""
            still_serves(n2, n1)

        with_node(scenario)

    def test_random_bytes_and_headers(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            dice = random.Random(7)
            good = encode_batch([HEARTBEAT] * 3)
            for _ in range(150):
                body = bytearray(good)
                for _ in range(dice.randrange(1, 6)):
                    body[dice.randrange(len(body))] = dice.randrange(256)
                response = n1.post(bytes(body))
                assert response.status_code in (200, 400), response.text
            for _ in range(150):
                signed = n1.sign(good)
                header = bytearray(signed.encode())
                header[dice.randrange(5, len(header))] = dice.choice(b"09af -%~")
                given = header.decode().strip()
                if given == signed:
                    continue
                response = n1.post(good, Authorization=given)
                assert response.status_code in (401, 409), (given, response.text)
            still_serves(n2, n1)

        with_node(scenario)
