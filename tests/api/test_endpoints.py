"""The endpoints as the network sees them: real sockets, signed messages, addresses."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
import requests

from raftdjango.node.errors import StartRefused
from raftdjango.node.http.server import HttpServer, bind
from raftdjango.node.peers.batches import encode_batch
from raftdjango.node.peers.signing import Standing
from raftdjango.node.peers.transport import messages_path
from tests.api.callers import HEARTBEAT, PATH, PROTOBUF, Caller, refusal, still_serves, with_node
from tests.api.nodes import Node, make_node, running, until


class TestMessages:
    def test_a_batch_is_taken_and_the_answer_is_signed(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            response = n1.post(encode_batch([HEARTBEAT]))
            assert response.status_code == 200
            assert n2.group.arrived == [("n1", HEARTBEAT)]
            answer = n1.signer.verify_response(
                200,
                PATH,
                response.headers["Authentication-Info"],
                response.content,
                request=n1.sent,
            )
            assert answer.sender == n2.forming.standing

        with_node(scenario)

    def test_without_a_signature(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            body = encode_batch([HEARTBEAT])
            headers = {"Content-Type": PROTOBUF}
            response = requests.post(n2.url + PATH, data=body, headers=headers, timeout=10)
            assert refusal(response) == (401, "unsigned")
            assert response.headers["WWW-Authenticate"] == "Raft"
            assert refusal(n1.post(body, Authorization="Basic YTpi")) == (401, "unsigned")
            assert not n2.group.arrived
            still_serves(n2, n1)

        with_node(scenario)

    def test_replayed_and_stale(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            body = encode_batch([HEARTBEAT])
            header = n1.sign(body)
            assert n1.post(body, Authorization=header).status_code == 200
            assert refusal(n1.post(body, Authorization=header)) == (409, "replayed")
            stale = n1.sign(body, boot=b"an earlier life.")
            response = n1.post(body, Authorization=stale)
            assert refusal(response) == (409, "stale_boot")
            # post() signed again, which moved `sent` on: sign the stale one once more to compare.
            response = requests.post(
                n2.url + PATH,
                data=body,
                headers={"Content-Type": PROTOBUF, "Authorization": n1.sign(body, boot=b"")},
                timeout=10,
            )
            answer = n1.signer.verify_response(
                409,
                PATH,
                response.headers["Authentication-Info"],
                response.content,
                request=n1.sent,
            )
            assert answer.boot == n2.transport.signer.boot
            assert len(n2.group.arrived) == 1

        with_node(scenario)

    def test_tampered(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            body = encode_batch([HEARTBEAT])
            header = n1.sign(body)
            assert refusal(n1.post(body + body, Authorization=header)) == (401, "bad_signature")
            still_serves(n2, n1)

        with_node(scenario)

    def test_unknown_group(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            body = encode_batch([HEARTBEAT])
            path = messages_path("elsewhere")
            headers = {"Content-Type": PROTOBUF, "Authorization": n1.sign(body, path)}
            response = requests.post(n2.url + path, data=body, headers=headers, timeout=10)
            assert refusal(response) == (404, "unknown_group")
            assert "groups: default" in response.json()["detail"]

        with_node(scenario)

    def test_another_type_and_method(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            response = n1.post(b"{}", **{"Content-Type": "application/json"})
            assert refusal(response) == (415, "unsupported_media_type")
            response = requests.get(n2.url + PATH, headers={"Authorization": "Raft 1"}, timeout=10)
            assert response.status_code in (401, 405)
            response = requests.post(n2.url + "/raft/v1/health/live", timeout=10)
            assert refusal(response) == (405, "method_not_allowed")
            assert response.headers["Allow"] == "GET, HEAD"
            still_serves(n2, n1)

        with_node(scenario)

    def test_a_peer_that_may_not_take_part_is_told_why_signed(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            body = encode_batch([HEARTBEAT], forming=(("n1", "u1"), ("n2", "u2")))
            n1.standing = Standing("n1", forming=b"other", incarnation=b"i" * 16)
            response = n1.post(body)
            assert refusal(response) == (403, "different_nodes")
            assert "{n1: u1, n2: u2}" in response.json()["detail"]
            assert "Authentication-Info" in response.headers
            assert not n2.group.arrived

        with_node(scenario)

    def test_the_leader_is_named(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            n2.group.facts = {"leader": "n3"}
            assert n1.post(b"\xff" * 9).json()["leader"] == "n3"

        with_node(scenario)


class TestBinding:
    def test_a_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            node = make_node("n1", listen=f"127.0.0.1:{port}")
            with pytest.raises(StartRefused, match=f"127.0.0.1:{port}: the port is in use"):
                asyncio.run(HttpServer(node).start())

    def test_without_a_secret_only_loopback(self) -> None:
        with pytest.raises(StartRefused, match="SECRET"):
            bind("0.0.0.0", 0, secret="")
        for host in ("127.0.0.1", "localhost"):
            bind(host, 0, secret="").close()
        bind("0.0.0.0", 0, secret="x").close()

    def test_an_address_of_another_machine(self) -> None:
        with pytest.raises(StartRefused, match="LISTEN"):
            bind("192.0.2.1", 7001, secret="x")

    def test_a_privileged_port(self, monkeypatch: Any) -> None:
        def refuse(self: socket.socket, address: Any) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(socket.socket, "bind", refuse)
        with pytest.raises(StartRefused, match="1023"):
            bind("127.0.0.1", 1, secret="x")


def test_two_nodes_on_real_sockets_need_no_project_middleware(settings: Any) -> None:
    settings.MIDDLEWARE = ["tests.no.such.middleware"]
    settings.ROOT_URLCONF = "tests.no.such.urls"
    settings.REST_FRAMEWORK = {"DEFAULT_RENDERER_CLASSES": [], "UNAUTHENTICATED_USER": None}

    async def main() -> None:
        async with running(make_node("n1"), make_node("n2")) as (n1, n2):
            n1.transport.send("n2", HEARTBEAT)
            await until(lambda: n2.group.items)

    asyncio.run(main())
