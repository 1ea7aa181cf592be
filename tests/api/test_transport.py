from __future__ import annotations

import asyncio

from raftcore.messages import AppendEntries, AppendEntriesResponse, Heartbeat, HeartbeatResponse
from raftcore.types import Entry, EntryKind
from tests.api.nodes import make_node, running, until


def heartbeat(sequence: int = 1) -> Heartbeat:
    return Heartbeat(term=1, leader="n1", leader_commit=0, sequence=sequence)


def append(*data: bytes, first: int = 1) -> AppendEntries:
    entries = tuple(
        Entry(first + n, 1, EntryKind.COMMAND, 0, value) for n, value in enumerate(data)
    )
    return AppendEntries(1, "n1", first - 1, 1 if first > 1 else 0, entries, 0, 1)


def test_items_travel_both_ways() -> None:
    async def main() -> None:
        async with running(make_node("n1"), make_node("n2")) as (n1, n2):
            n1.transport.send("n2", heartbeat())
            n1.transport.send("n2", append(b"one", b"two"))
            await until(lambda: len(n2.group.items) == 2)
            n2.transport.send("n1", AppendEntriesResponse(1, "n2", 1, True, 2))
            await until(lambda: n1.group.items)
            assert set(map(type, n2.group.items)) == {Heartbeat, AppendEntries}
            assert n1.group.arrived == [("n2", AppendEntriesResponse(1, "n2", 1, True, 2))]

    asyncio.run(main())


def test_what_is_ready_rides_back_without_a_request() -> None:
    async def main() -> None:
        async with running(make_node("n1"), make_node("n2")) as (n1, n2):
            served = n1.server._uvicorn.server_state

            def answer(sender: str, item: object) -> None:
                loop.call_soon(n2.transport.send, sender, HeartbeatResponse(1, "n2", 1))

            loop = asyncio.get_running_loop()
            n2.group.on_arrival = answer
            n1.transport.send("n2", heartbeat())
            await until(lambda: n1.group.items)
            assert n1.group.items == [HeartbeatResponse(1, "n2", 1)]
            assert served.total_requests == 0

    asyncio.run(main())
