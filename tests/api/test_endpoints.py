"""The endpoints as the network sees them: real sockets, whatever bytes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import random
import socket
from typing import TYPE_CHECKING, Any

import pytest
import requests
from django.contrib.auth.models import User

from raftcore.messages import Heartbeat
from raftdjango.node.batches import encode_batch
from raftdjango.node.errors import StartRefused
from raftdjango.node.http import HttpServer, bind
from raftdjango.node.http_request import BODY_BYTES_MAX
from raftdjango.node.peer_pb2 import Batch, Fragment
from raftdjango.node.signing import Signer, Standing
from raftdjango.node.transport import messages_path
from tests.api.nodes import GROUP, SECRET, Node, make_node, running, until

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = messages_path(GROUP)
HEARTBEAT = Heartbeat(term=1, leader="n1", leader_commit=0, sequence=1)
PROTOBUF = "application/x-protobuf"


class Caller:
    """Peer `n1` in hand: signs like a node, sends whatever it is told."""

    def __init__(self, target: Node, secret: str = SECRET) -> None:
        self.target = target
        self.signer = Signer(GROUP, "n1", secret)
        self.standing = Standing(
            "n1", forming=target.forming.standing.forming, incarnation=b"i" * 16
        )

    def sign(self, body: bytes, path: str = PATH, boot: bytes | None = None) -> str:
        boot = self.target.transport.signer.boot if boot is None else boot
        header, self.sent = self.signer.sign_request(
            "POST", path, body, sender=self.standing, receiver="n2", boot=boot
        )
        return header

    def post(self, body: bytes, **headers: str) -> requests.Response:
        given = {"Content-Type": PROTOBUF, "Authorization": self.sign(body), **headers}
        return requests.post(self.target.url + PATH, data=body, headers=given, timeout=10)


def with_node(scenario: Callable[[Node, Caller], Any], **settings: Any) -> Any:
    """Run `scenario` in a thread beside node n2; n1 is in its list but is no process."""

    async def main() -> Any:
        n2 = make_node("n2", **settings)
        await n2.listen()
        try:
            await n2.join({"n1": "http://127.0.0.1:9", "n2": n2.url})
            return await asyncio.to_thread(scenario, n2, Caller(n2, n2.settings.secret))
        finally:
            await n2.stop()

    return asyncio.run(main())


def refusal(response: requests.Response) -> tuple[int, str]:
    """Status and code; every refusal has the same shape."""
    fields = response.json()
    assert set(fields) == {"code", "detail", "leader"}
    assert fields["detail"]
    assert response.headers["Content-Type"] == "application/json"
    return response.status_code, fields["code"]


def still_serves(n2: Node, caller: Caller) -> None:
    n2.group.arrived.clear()
    assert caller.post(encode_batch([HEARTBEAT])).status_code == 200
    assert n2.group.items == [HEARTBEAT]


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
        monkeypatch.setattr("raftdjango.node.http_protocol.HEAD_S", 0.05)

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


class TestFacts:
    FACTS = {"node": "n2", "leader": "n2", "term": 3, "members": [{"id": "n1", "lag": 4}]}

    @staticmethod
    def basic(name: str, password: str) -> dict[str, str]:
        return {
            "Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
        }

    def test_health(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            live = requests.get(n2.url + "/raft/v1/health/live", timeout=10)
            assert (live.status_code, live.json()) == (200, {"status": "ok"})
            ready = n2.url + "/raft/v1/health/ready"
            assert refusal(requests.get(ready, timeout=10)) == (503, "not_ready")
            n2.group.facts = {"leader": "n1", "ready": True, "not_ready_reason": ""}
            assert requests.get(ready, timeout=10).status_code == 200
            reason = "stopped applying: the disk is full"
            n2.group.facts = {"leader": "n1", "ready": False, "not_ready_reason": reason}
            answer = requests.get(ready, timeout=10)
            assert refusal(answer) == (503, "not_ready")
            assert reason in answer.json()["detail"]

        with_node(scenario)

    @pytest.mark.parametrize("path", ["/raft/v1/default/status", "/raft/v1/metrics"])
    def test_with_a_secret_facts_are_for_staff(self, path: str, monkeypatch: Any) -> None:
        users = {"boss": User(username="boss", is_staff=True), "guest": User(username="guest")}

        def authenticate(*, request: Any, username: str, password: str) -> User | None:
            return users.get(username) if password == "right" else None

        monkeypatch.setattr("rest_framework.authentication.authenticate", authenticate)

        def scenario(n2: Node, n1: Caller) -> None:
            n2.group.facts = self.FACTS

            def get(**headers: str) -> requests.Response:
                return requests.get(n2.url + path, headers=headers, timeout=10)

            response = get()
            assert refusal(response) == (401, "not_authenticated")
            assert response.headers["WWW-Authenticate"].startswith("Basic")
            assert refusal(get(**self.basic("boss", "wrong"))) == (401, "authentication_failed")
            assert refusal(get(**self.basic("guest", "right"))) == (403, "permission_denied")
            assert get(**self.basic("boss", "right")).status_code == 200

        with_node(scenario)

    def test_status_for_a_peer(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            n2.group.facts = self.FACTS
            path = "/raft/v1/default/status"
            header, _ = n1.signer.sign_request(
                "GET",
                path,
                b"",
                sender=n1.standing,
                receiver="n2",
                boot=n2.transport.signer.boot,
            )
            response = requests.get(n2.url + path, headers={"Authorization": header}, timeout=10)
            assert response.json() == self.FACTS

        with_node(scenario)

    def test_without_a_secret_loopback_may_look(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            n2.group.facts = self.FACTS
            response = requests.get(n2.url + "/raft/v1/default/status", timeout=10)
            assert response.json() == self.FACTS
            page = requests.get(n2.url + "/raft/v1/metrics", timeout=10)
            assert page.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert 'raftdjango_term{group="default"} 3\n' in page.text
            assert 'raftdjango_is_leader{group="default"} 1\n' in page.text
            assert 'raftdjango_member_lag{group="default",member="n1"} 4\n' in page.text

        with_node(scenario, secret="")

    def test_nothing_else_is_there(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            for path in ("/", "/admin/", "/raft/v1/default/members", "/raft/v1/"):
                assert refusal(requests.get(n2.url + path, timeout=10)) == (404, "not_found")

        with_node(scenario)

    def test_a_fault_is_one_answer_and_one_log_entry(self, caplog: Any) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            def broken() -> Any:
                raise RuntimeError("no such thing")

            n2.group.status = broken  # type: ignore[method-assign]
            url = n2.url + "/raft/v1/default/status"
            assert refusal(requests.get(url, timeout=10)) == (500, "error")

        with_node(scenario, secret="")
        assert "no such thing" in caplog.text


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
