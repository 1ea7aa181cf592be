"""The way of large batches, where the peer or the machine does not do its part."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

import pytest

from raftdjango.node.peers import bulk as bulk_module
from raftdjango.node.peers.bulk import FAILURES_MAX, Bulk
from raftdjango.node.peers.calls import Peer
from raftdjango.node.peers.port import Forward
from raftdjango.node.peers.signing import Signer, Standing
from tests.api.nodes import make_node, running, until

LARGE = Forward(b"id", b"x" * 3_000_000)


def test_a_thread_that_cannot_be_started_leaves_the_lane_free(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: object) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        async with running(make_node("n1"), make_node("n2")) as (n1, n2):
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", refuse)
                n1.transport.send("n2", LARGE)
                await until(lambda: n1.group.lost)
            assert n1.group.lost == [("n2", LARGE)]
            n1.transport.send("n2", Forward(b"next"))
            await until(lambda: n2.group.items)
            assert n2.group.items == [Forward(b"next")]

    asyncio.run(main())
    assert "can't start new thread" in caplog.text


def carry_to(serve: Callable[[socket.socket], None]) -> BaseException | None:
    """What comes of a large batch for a peer that serves connections like this."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                serve(client)

    async def main() -> BaseException | None:
        ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        bulk = Bulk(10.0, Peer("n2", url, "/"), Signer("default", "n1", "secret"))
        bulk.carry(
            [LARGE], (), Standing("n1"), on_reply=lambda reply: None, on_end=ended.set_result
        )
        async with asyncio.timeout(60):
            error = await ended
        bulk.stop()
        return error

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        return asyncio.run(main())
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()


def test_an_answer_without_end_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_module, "RESPONSE_BYTES_MAX", 1_000_000)
    sent = 0

    def endless(client: socket.socket) -> None:
        nonlocal sent
        client.recv(1)
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while sent < 100_000_000:
                sent += client.send(b"x" * 10_000)
        except OSError:
            return

    error = carry_to(endless)
    assert isinstance(error, ConnectionError)
    assert "too long" in str(error)
    assert sent < 100_000_000


def test_a_peer_that_hangs_up_is_given_up_after_a_while() -> None:
    calls = 0

    def hang_up(client: socket.socket) -> None:
        nonlocal calls
        calls += 1

    assert isinstance(carry_to(hang_up), ConnectionError)
    assert calls == FAILURES_MAX + 1


def test_a_stop_closes_the_connection() -> None:
    async def main() -> None:
        async with running(make_node("n1"), make_node("n2")) as (n1, n2):
            n1.transport.send("n2", LARGE)
            await until(lambda: n2.group.items, 30)
            await until(lambda: n1.transport._links["n2"].entries.idle)
            open_before = len(n2.server.connections)
            n1.transport._links["n2"].entries._bulk.stop()
            await until(lambda: len(n2.server.connections) == open_before - 1)

    asyncio.run(main())
