"""Large batches: a thread takes them apart, and what comes of that reaches the node in order, or is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from raftcore.errors import Malformed
from raftcore.messages import AppendEntries, Heartbeat
from raftcore.types import Entry, EntryKind
from raftdjango.node.peers import transport as transport_module
from raftdjango.node.peers.batches import encode_large
from raftdjango.node.peers.fragments import PARTIAL_MAX, Outgoing
from raftdjango.node.peers.peer_pb2 import Batch
from raftdjango.node.peers.port import Forward
from raftdjango.node.peers.signing import RESPONSE_HEADER
from raftdjango.node.rope import Rope
from tests.api.callers import Caller, refusal, still_serves, with_node
from tests.api.nodes import Node, make_node, running, until

PATIENCE_S = 30


def append(first: int, data: bytes) -> AppendEntries:
    entries = (Entry(first, 1, EntryKind.COMMAND, 0, data),)
    return AppendEntries(1, "n1", first - 1, 1 if first > 1 else 0, entries, 0, 1)


LARGE = append(1, bytes(range(256)) * 10_000)


class Gate:
    """Where the thread waits before it takes a batch apart."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.begun = 0
        self.error: Exception | None = None
        self._real = transport_module._items_of
        patch.setattr(transport_module, "_items_of", self._items_of)

    def _items_of(self, whole: Any) -> Any:
        self.begun += 1
        assert self.open.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return self._real(whole)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def last_piece(caller: Caller, items: list[Any]) -> bytes:
    """Send all pieces but the last; that."""
    outgoing = Outgoing(Rope(encode_large(items)))
    while True:
        piece = Batch(fragment=outgoing.piece()).SerializeToString()
        fragment = outgoing.piece()
        if fragment.offset + len(fragment.data) == fragment.size:
            return piece
        response = caller.post(piece)
        assert not outgoing.answered(Batch.FromString(response.content).fragment)


def test_entries_stay_in_order_and_heartbeats_do_not_wait(gate: Gate) -> None:
    async def main() -> None:
        async with running(make_node("n1"), make_node("n2")) as (n1, n2):
            n1.transport.send("n2", LARGE)
            await until(lambda: gate.begun, PATIENCE_S)
            n1.transport.send("n2", append(2, b"small"))
            n1.transport.send("n2", Heartbeat(1, "n1", 0, 1))
            await until(lambda: n2.group.items)
            assert n2.group.items == [Heartbeat(1, "n1", 0, 1)]
            gate.open.set()
            await until(lambda: len(n2.group.items) == 3)
            assert n2.group.items[1:] == [LARGE, append(2, b"small")]
            assert not n1.group.lost
            assert not n2.transport._unpacking

    asyncio.run(main())


def test_a_large_proposal_travels_like_a_large_entry() -> None:
    async def main() -> None:
        async with running(make_node("n1"), make_node("n2")) as (n1, n2):
            proposal = Forward(b"id", b"x" * 5_000_000)
            n1.transport.send("n2", proposal)
            await until(lambda: n2.group.items, PATIENCE_S)
            assert n2.group.items == [proposal]

    asyncio.run(main())


def test_what_has_come_counts_though_nobody_waits_for_the_answer(gate: Gate) -> None:
    def scenario(n2: Node, caller: Caller) -> None:
        piece = last_piece(caller, [LARGE])
        headers = {"Content-Type": "application/x-protobuf", "Authorization": caller.sign(piece)}
        with pytest.raises(requests.Timeout):
            requests.post(
                n2.url + n2.transport._path, data=piece, headers=headers, timeout=(10, 0.05)
            )
        asyncio.run(until(lambda: gate.begun and len(n2.server.connections) < 2, PATIENCE_S))
        gate.open.set()
        asyncio.run(until(lambda: n2.group.items, PATIENCE_S))
        assert n2.group.items == [LARGE]
        still_serves(n2, caller)

    with_node(scenario)


@pytest.mark.parametrize(
    ("error", "code"),
    [(Malformed("no batch"), (400, "malformed")), (MemoryError(), (500, "error"))],
)
def test_what_cannot_be_taken_apart_is_refused_and_signed(
    gate: Gate, error: Exception, code: tuple[int, str]
) -> None:
    gate.error = error
    gate.open.set()

    def scenario(n2: Node, caller: Caller) -> None:
        response = caller.post(last_piece(caller, [LARGE]))
        assert refusal(response) == code
        assert RESPONSE_HEADER in response.headers
        assert not n2.group.items
        still_serves(n2, caller)

    with_node(scenario)


def test_who_is_no_member_any_more_when_it_is_read_is_refused(gate: Gate) -> None:
    def scenario(n2: Node, caller: Caller) -> None:
        answers: list[requests.Response] = []
        piece = last_piece(caller, [LARGE])
        asking = threading.Thread(target=lambda: answers.append(caller.post(piece)))
        asking.start()
        asyncio.run(until(lambda: gate.begun, PATIENCE_S))
        n2.forming.has_bound("n1", b"another".ljust(16, b"."))
        gate.open.set()
        asking.join(PATIENCE_S)
        assert refusal(answers[0]) == (403, "other_incarnation")
        assert not n2.group.items

    with_node(scenario)


def test_batches_that_wait_to_be_taken_apart_are_bounded(gate: Gate) -> None:
    def scenario(n2: Node, caller: Caller) -> None:
        threads = []
        for n in range(PARTIAL_MAX):
            piece = last_piece(caller, [LARGE, append(20 + n, b"x")])
            threads.append(threading.Thread(target=caller.post, args=(piece,)))
            threads[-1].start()
            asyncio.run(until(lambda n=n: len(n2.transport._unpacking) == n + 1, PATIENCE_S))
        assert refusal(caller.post(last_piece(caller, [LARGE]))) == (503, "busy")
        gate.open.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert len(n2.group.items) == 2 * PARTIAL_MAX
        still_serves(n2, caller)

    with_node(scenario)


def test_a_stop_does_not_wait_for_a_batch(gate: Gate) -> None:
    async def main() -> None:
        async with running(make_node("n1"), make_node("n2")) as (n1, n2):
            n1.transport.send("n2", LARGE)
            await until(lambda: gate.begun, PATIENCE_S)
            await n2.transport.stop()
            await until(lambda: n1.group.lost)
            assert not n2.group.items
            assert not n2.transport._unpacking
            gate.open.set()

    asyncio.run(main())
