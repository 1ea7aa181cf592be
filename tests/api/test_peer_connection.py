"""The client's side of a connection between peers, against servers that answer as they like."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
import uvloop

from raftdjango.node.peers import connection as peer_connection
from raftdjango.node.peers.connection import PeerAnswer, PeerConnection, _Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
OK = b"HTTP/1.1 200 OK\r\nX-Name: value\r\nContent-Length: 5\r\n\r\nhello"
ANSWER = PeerAnswer(200, {"x-name": "value", "content-length": "5"}, b"hello")


def answering(*answers: bytes) -> Script:
    """One answer for each request on a connection, then its end."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readexactly(len(REQUEST))
            writer.write(answer)
        await writer.drain()

    return script


async def ask(connection: PeerConnection, answer_s: float = 10) -> PeerAnswer | OSError:
    end: asyncio.Future[PeerAnswer | OSError] = asyncio.get_running_loop().create_future()
    connection.ask(REQUEST, answer_s=answer_s, done=end.set_result)
    assert not end.done(), "never before it returns"
    return await end


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def with_peer(
    request: pytest.FixtureRequest,
) -> Callable[[Script, Callable[[PeerConnection], Awaitable[None]]], None]:
    """Run a scenario against a server that follows a script on each connection."""

    def run(script: Script, scenario: Callable[[PeerConnection], Awaitable[None]]) -> None:
        serving: set[asyncio.Task[None] | None] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            serving.add(asyncio.current_task())
            try:
                await script(reader, writer)
            except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
                writer.transport.abort()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        async def main() -> None:
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            connection = PeerConnection(f"http://127.0.0.1:{port}", asyncio.get_running_loop())
            try:
                async with asyncio.timeout(30):
                    await scenario(connection)
            finally:
                connection.close()
                server.close()
                for task in serving:
                    if task is not None:
                        task.cancel()
                await asyncio.gather(*filter(None, serving), return_exceptions=True)

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())

    return run


def test_a_connection_carries_one_request_after_the_other(with_peer) -> None:  # type: ignore[no-untyped-def]
    async def scenario(connection: PeerConnection) -> None:
        assert await ask(connection) == ANSWER
        assert not connection.reused
        assert await ask(connection) == ANSWER
        assert connection.reused

    with_peer(answering(OK, OK), scenario)


def test_a_new_connection_is_made_when_the_peer_has_closed_it(with_peer) -> None:  # type: ignore[no-untyped-def]
    async def scenario(connection: PeerConnection) -> None:
        assert await ask(connection) == ANSWER
        while connection._wire is not None:
            await asyncio.sleep(0)
        assert await ask(connection) == ANSWER
        assert not connection.reused

    with_peer(answering(OK), scenario)


def test_an_answer_that_says_so_is_the_last_of_its_connection(with_peer) -> None:  # type: ignore[no-untyped-def]
    closing = OK.replace(b"X-Name: value", b"Connection: close")

    async def scenario(connection: PeerConnection) -> None:
        assert (await ask(connection)).body == b"hello"  # type: ignore[union-attr]
        assert connection._wire is None

    with_peer(answering(closing), scenario)


def test_an_answer_in_pieces(with_peer) -> None:  # type: ignore[no-untyped-def]
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(REQUEST))
        for byte in OK:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)

    async def scenario(connection: PeerConnection) -> None:
        assert await ask(connection) == ANSWER

    with_peer(script, scenario)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        OK[:-1],
        b"220 mail.example ESMTP\r\n",
        bytes(range(256)),
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_an_error(with_peer, answer: bytes) -> None:  # type: ignore[no-untyped-def]
    async def scenario(connection: PeerConnection) -> None:
        assert isinstance(await ask(connection), OSError)
        assert connection._wire is None

    with_peer(answering(answer), scenario)


@pytest.mark.parametrize("endless", [b"X-Long: " + b"x" * 1000 + b"\r\n", b"x" * 1000])
def test_an_answer_without_end_is_broken_off(  # type: ignore[no-untyped-def]
    with_peer, endless: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_connection, "RESPONSE_BYTES_MAX", 100_000)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(REQUEST))
        writer.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if endless[:1] == b"x" else b""))
        while True:
            writer.write(endless)
            await writer.drain()

    async def scenario(connection: PeerConnection) -> None:
        assert isinstance(await ask(connection), ConnectionError)

    with_peer(script, scenario)


def test_no_answer_in_time(with_peer) -> None:  # type: ignore[no-untyped-def]
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scenario(connection: PeerConnection) -> None:
        assert isinstance(await ask(connection, answer_s=0.01), TimeoutError)
        assert connection._wire is None, "its late answer must not pass for the next one's"

    with_peer(script, scenario)


def test_what_nobody_asked_for_answers_nothing(with_peer) -> None:  # type: ignore[no-untyped-def]
    read = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(OK)(reader, writer)
        await read.wait()
        writer.write(OK)
        await reader.read()

    async def scenario(connection: PeerConnection) -> None:
        assert await ask(connection) == ANSWER
        read.set()
        while connection._wire is not None:
            await asyncio.sleep(0)

    with_peer(script, scenario)


def test_a_peer_that_answers_before_it_is_asked_is_not_believed(with_peer) -> None:  # type: ignore[no-untyped-def]
    connected = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        if connected == 1:
            writer.write(OK)
            await reader.read()
        await answering(OK)(reader, writer)

    async def scenario(connection: PeerConnection) -> None:
        early: list[_Wire] = []
        connect = connection._loop.create_connection

        async def connect_slowly(*arguments: object, **options: object) -> object:
            """The first time, what the peer says is there before the task goes on."""
            made = await connect(*arguments, **options)  # type: ignore[arg-type, call-overload]
            if not early:
                early.append(made[1])
                while made[1].lost is None:
                    await asyncio.sleep(0)
            return made

        connection._loop = Looped(connection._loop, connect_slowly)  # type: ignore[assignment]
        assert isinstance(await ask(connection), ConnectionError)
        assert connection._timer is None, "or it would end the next request"
        assert connection._wire is None
        assert early[0]._transport.is_closing()
        assert await ask(connection) == ANSWER
        assert connection._timer is None

    with_peer(script, scenario)


class Looped:
    """A loop that connects in its own way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connect: object) -> None:
        self._loop = loop
        self.create_connection = connect

    def __getattr__(self, name: str) -> object:
        return getattr(self._loop, name)


def test_a_close_leaves_no_timer(with_peer) -> None:  # type: ignore[no-untyped-def]
    asked = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(REQUEST))
        asked.set()
        await reader.read()

    async def scenario(connection: PeerConnection) -> None:
        connection.ask(REQUEST, answer_s=600, done=pytest.fail)
        await asked.wait()
        connection.close()
        assert connection._timer is None

    with_peer(script, scenario)


def test_two_answers_to_one_request_are_none(with_peer) -> None:  # type: ignore[no-untyped-def]
    async def scenario(connection: PeerConnection) -> None:
        assert isinstance(await ask(connection), ConnectionError)

    with_peer(answering(OK + OK), scenario)


def test_nobody_listens() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        loop = asyncio.get_running_loop()
        for url in (f"http://127.0.0.1:{port}", "http://[::1]:1", f"http://{'x' * 70}.invalid:1"):
            assert isinstance(await ask(PeerConnection(url, loop)), OSError)

    asyncio.run(main())


def test_a_close_while_it_connects_calls_nobody() -> None:
    async def main() -> None:
        called: list[object] = []
        connection = PeerConnection("http://127.0.0.1:1", asyncio.get_running_loop())
        connection.ask(REQUEST, answer_s=1, done=called.append)
        connecting = connection._connecting
        assert connecting is not None
        connection.close()
        await asyncio.wait([connecting])
        assert not called

    asyncio.run(main())
