"""The HTTP/1.1 server by itself: order, bounds, patience, and what becomes of connections."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from typing import Any

import pytest

from raftcore.messages import AppendEntries
from raftcore.types import Entry, EntryKind
from raftdjango.node.http import protocol as http_protocol
from raftdjango.node.http import views as http_views
from raftdjango.node.http.request import BODY_BYTES_MAX, Answer
from raftdjango.node.peers import links
from raftdjango.node.peers.batches import encode_batch
from tests.api.callers import HEARTBEAT
from tests.api.connections import GONE, LIVE, READY, Client, signed, with_node
from tests.api.nodes import Node, until

ENTRIES = AppendEntries(1, "n1", 0, 0, (Entry(1, 1, EntryKind.COMMAND, 0, b"x"),), 0, 1)


class TestRequests:
    def test_pipelined_ones_are_answered_in_order(self) -> None:
        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            # `ready` is made in the pool, the others at once.
            client.writer.write((READY + LIVE + GONE) * 3 + LIVE[:30])
            statuses = [(await client.answer())[0] for _ in range(9)]
            assert statuses == [503, 200, 404] * 3
            assert (await client.ask(LIVE[30:]))[0] == 200

        with_node(scenario)

    def test_as_many_as_fit_into_a_read(self) -> None:
        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            client.writer.write(LIVE * 3000)
            for _ in range(3000):
                assert (await client.answer())[0] == 200

        with_node(scenario)

    def test_byte_by_byte(self) -> None:
        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            body = encode_batch([HEARTBEAT])
            for byte in signed(node, body) + body:
                client.writer.write(bytes([byte]))
                await asyncio.sleep(0)
            assert (await client.answer())[0] == 200
            assert node.group.items == [HEARTBEAT]

        with_node(scenario)

    def test_in_chunks_with_a_trailer(self) -> None:
        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            body = encode_batch([HEARTBEAT])
            head = signed(node, body, **{"Content-Length": "", "Transfer-Encoding": "chunked"})
            pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
            data = head + pieces + b"0\r\nContent-Type: text/plain\r\n\r\n"
            assert (await client.ask(data))[0] == 200
            assert node.group.items == [HEARTBEAT]

        with_node(scenario)

    def test_head_has_no_body(self) -> None:
        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            client.writer.write(b"HEAD" + LIVE[3:])
            status, headers = await client.head()
            assert status == 200
            assert int(headers["content-length"]) > 0
            assert json.loads((await client.ask(LIVE))[2]) == {"status": "ok"}

        with_node(scenario)

    def test_a_body_that_waits_to_be_asked_for(self) -> None:
        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            body = encode_batch([HEARTBEAT])
            client.writer.write(READY + signed(node, body, Expect="100-continue"))
            assert (await client.answer())[0] == 503, "in order"
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await client.ask(body))[0] == 200

        with_node(scenario)

    def test_one_connection_for_many_and_close_when_asked(self) -> None:
        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            for _ in range(3):
                assert "connection" not in (await client.ask(LIVE))[1]
            closing = LIVE.replace(b"Host: x", b"Connection: close")
            client.writer.write(closing + LIVE)
            assert (await client.answer())[1]["connection"] == "close"
            assert await client.ended()
            client = await Client.to(node)
            assert (await client.ask(LIVE.replace(b"1.1", b"1.0")))[0] == 200
            assert await client.ended()

        with_node(scenario)

    def test_another_protocol_is_not_spoken(self) -> None:
        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            upgrade = LIVE.replace(b"Host: x", b"Connection: Upgrade\r\nUpgrade: h2c")
            assert (await client.ask(upgrade + b"\x00\x01"))[0] == 200
            assert await client.ended()
            client = await Client.to(node)
            assert (await client.ask(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 400

        with_node(scenario)

    def test_an_underscore_is_no_hyphen(self) -> None:
        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            body = encode_batch([HEARTBEAT])
            given = signed(node, body, Content_Type="text/plain", Content_Length="x")
            assert (await client.ask(given + body))[0] == 200

        with_node(scenario)

    def test_a_refusal_follows_the_answers_that_are_due(self) -> None:
        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            client.writer.write(READY + b"nonsense\r\n\r\n" + LIVE)
            assert (await client.answer())[0] == 503
            status, headers, body = await client.answer()
            assert (status, headers["connection"]) == (400, "close")
            assert json.loads(body)["code"] == "malformed"
            assert await client.ended()

        with_node(scenario)


class TestBounds:
    def test_a_large_body_and_a_request_right_behind_it(self) -> None:
        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            body = bytes(BODY_BYTES_MAX)
            client.writer.write(signed(node, body) + body + LIVE)
            assert (await client.answer())[0] == 400
            assert (await client.answer())[0] == 200

        with_node(scenario)

    def test_a_refused_client_may_finish_its_sentence(self) -> None:
        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            body = bytes(BODY_BYTES_MAX + 1)
            client.writer.write(signed(node, b"", **{"Content-Length": str(len(body))}))
            client.writer.write(body)
            await client.writer.drain()
            assert (await client.answer())[0] == 413
            assert await client.ended()

        with_node(scenario)

    def test_too_much_around_the_chunks(self) -> None:
        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            headers = {"Content-Length": "", "Transfer-Encoding": "chunked"}
            client.writer.write(signed(node, b"", **headers) + b"0\r\nX: ")
            client.writer.write(b"x" * http_protocol.REQUEST_BYTES_MAX)
            assert (await client.answer())[0] == 413

        with_node(scenario)

    def test_a_connection_too_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_protocol, "CONNECTIONS_MAX", 2)

        async def scenario(node: Node) -> None:
            clients = [await Client.to(node) for _ in range(2)]
            for client in clients:
                assert (await client.ask(LIVE))[0] == 200
            status, _, body = await (await Client.to(node)).ask(LIVE)
            assert (status, json.loads(body)["code"]) == (503, "busy")
            clients[0].writer.close()
            await until(lambda: len(node.server.connections) < 2)
            assert (await (await Client.to(node)).ask(LIVE))[0] == 200

        with_node(scenario)


class TestPatience:
    def test_with_an_idle_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_protocol, "KEEP_ALIVE_S", 0.05)

        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            assert (await client.ask(LIVE))[0] == 200
            assert await client.ended()

        with_node(scenario)

    def test_with_a_later_head(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_protocol, "HEAD_S", 0.05)

        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            client.writer.write(LIVE + b"GET /")
            assert (await client.answer())[0] == 200
            assert await client.ended()

        with_node(scenario)

    def test_with_a_body(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_protocol, "BODY_S", 0.05)

        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            body = encode_batch([HEARTBEAT])
            status, _, said = await client.ask(signed(node, body) + body[:-1])
            assert (status, json.loads(said)["code"]) == (408, "timeout")
            assert not node.group.items

        with_node(scenario)

    def test_with_a_client_that_does_not_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_protocol, "DRAIN_S", 0.05)

        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            client.writer.transport.pause_reading()
            await until(lambda: node.server.connections)
            (connection,) = node.server.connections
            # Small buffers, so that few answers fill them.
            for end, which in (
                (connection._transport, socket.SO_SNDBUF),
                (client.writer.transport, socket.SO_RCVBUF),
            ):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, which, 4096)
            held: list[bool] = []

            def flood() -> bool:
                client.writer.write(LIVE * 100)
                held.append(connection._writing_paused and connection._reading_paused)
                return not node.server.connections

            await until(flood)
            assert any(held), "what it sends waits as well"
            client.writer.transport.abort()

        with_node(scenario)


class TestEnds:
    def test_a_peer_that_leaves_frees_what_would_ride(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(links, "ACKNOWLEDGE_S", 60)

        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            body = encode_batch([ENTRIES])
            client.writer.write(signed(node, body) + body)
            await until(lambda: node.group.items)
            assert node.transport._links["n1"]._exchanges
            client.writer.close()
            await until(lambda: not node.transport._links["n1"]._exchanges)

        with_node(scenario)

    def test_a_fault_frees_it_too(self, caplog: pytest.LogCaptureFixture) -> None:
        async def scenario(node: Node) -> None:
            def broken(sender: str, item: object) -> None:
                raise RuntimeError("no such thing")

            node.group.on_arrival = broken
            client = await Client.to(node)
            body = encode_batch([ENTRIES])
            status, _, said = await client.ask(signed(node, body) + body)
            assert (status, json.loads(said)["code"]) == (500, "error")
            assert not node.transport._links["n1"]._exchanges

        with_node(scenario)
        assert "no such thing" in caplog.text

    def test_what_is_under_way_is_finished_and_the_rest_closed(self) -> None:
        async def scenario(node: Node) -> None:
            idle, busy = await Client.to(node), await Client.to(node)
            assert (await idle.ask(LIVE))[0] == 200
            body = encode_batch([HEARTBEAT])
            busy.writer.write(signed(node, body, Expect="100-continue"))
            await busy.head()
            stopping = asyncio.ensure_future(node.server.stop())
            assert await idle.ended()
            status, headers, _ = await busy.ask(body)
            assert (status, headers["connection"]) == (200, "close")
            assert await busy.ended()
            await stopping
            assert not node.server.connections
            with pytest.raises(ConnectionError):
                await Client.to(node)

        with_node(scenario)

    def test_a_stop_does_not_wait_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("raftdjango.node.http.server.STOP_S", 0.05)

        async def scenario(node: Node) -> None:
            client = await Client.to(node)
            client.writer.write(signed(node, b"", **{"Content-Length": "9"}) + b"x")
            await until(lambda: [c for c in node.server.connections if c._reading.value == "body"])
            await node.server.stop()
            assert await client.ended()

        with_node(scenario)

    def test_a_cold_view_whose_client_has_left(self, caplog: pytest.LogCaptureFixture) -> None:
        entered, go_on = threading.Event(), threading.Event()

        async def scenario(node: Node) -> None:
            def cold(*args: Any, **kwargs: Any) -> Any:
                entered.set()
                go_on.wait(10)
                raise RuntimeError("nobody asked")

            node.server.views._resolver.resolve("/raft/v1/health/ready")
            find = node.server.views._find
            node.server.views._find = (
                lambda target: (  # type: ignore[method-assign]
                    *find(target)[:2],
                    type("Match", (), {"func": cold, "kwargs": {}, "url_name": "ready"}),
                )
            )
            client = await Client.to(node)
            client.writer.write(READY)
            await asyncio.to_thread(entered.wait, 10)
            client.writer.close()
            await until(lambda: not node.server.connections)
            go_on.set()
            await until(lambda: node.server.views._cold == 0)

        with_node(scenario)
        assert not caplog.records

    def test_cold_views_whose_clients_leave_do_not_pile_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_views, "COLD_MAX", 3)
        go_on = threading.Event()

        async def scenario(node: Node) -> None:
            def slow(*arguments: Any) -> Any:
                go_on.wait(30)
                return Answer.refusal(503, "not_ready", "slow")

            monkeypatch.setattr(http_views, "_call_cold", slow)
            for asked in range(1, 4):
                client = await Client.to(node)
                client.writer.write(READY)
                await until(lambda asked=asked: node.server.views._cold == asked)
                client.writer.close()
                await until(lambda: not node.server.connections)
            client = await Client.to(node)
            assert json.loads((await client.ask(READY))[2])["code"] == "busy"
            go_on.set()
            await until(lambda: node.server.views._cold == 0)
            client = await Client.to(node)
            assert json.loads((await client.ask(READY))[2])["code"] == "not_ready"

        with_node(scenario)


def test_on_the_loop_that_nodes_use() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def scenario(node: Node) -> None:
        client = await Client.to(node)
        body = encode_batch([HEARTBEAT])
        assert (await client.ask(signed(node, body) + body))[0] == 200
        assert (await client.ask(READY))[0] == 503
        assert (await client.ask(b"nonsense\r\n\r\n"))[0] == 400
        assert await client.ended()

    with_node(scenario, loop_factory=uvloop.new_event_loop)
