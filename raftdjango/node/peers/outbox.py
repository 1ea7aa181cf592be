"""What waits for one lane: bounded by count and by bytes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from raftcore.messages import AppendEntries
from raftdjango.node.peers.peer_pb2 import MemberFacts
from raftdjango.node.peers.port import Forward

if TYPE_CHECKING:
    from raftdjango.node.peers.port import PeerItem

ENTRY_OVERHEAD = 64
"""Bytes that an entry or an item takes on the wire beyond its data, generously."""


class Sized(NamedTuple):
    """An item and about how many bytes it takes on the wire."""

    item: PeerItem
    size: int


def size_of(item: PeerItem) -> int:
    """About how many bytes `item` takes on the wire."""
    if isinstance(item, AppendEntries):
        return ENTRY_OVERHEAD + sum(len(entry.data) + ENTRY_OVERHEAD for entry in item.entries)
    if isinstance(item, Forward):
        return ENTRY_OVERHEAD + len(item.command)
    if isinstance(item, MemberFacts):
        return ENTRY_OVERHEAD + item.ByteSize()
    return ENTRY_OVERHEAD


class Outbox:
    """A bounded queue that drops its oldest items: newer ones supersede them, and Raft repeats."""

    def __init__(self, *, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._queue: deque[Sized] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, item: PeerItem) -> list[PeerItem]:
        """Queue `item`; what had to be dropped for it.  One item always fits."""
        size = size_of(item)
        dropped: list[PeerItem] = []
        queue = self._queue
        while queue and (len(queue) >= self._count_max or self._bytes + size > self._bytes_max):
            oldest = queue.popleft()
            self._bytes -= oldest.size
            dropped.append(oldest.item)
        queue.append(Sized(item, size))
        self._bytes += size
        return dropped

    def take(self, bytes_max: int) -> tuple[list[PeerItem], int]:
        """All that is queued, up to `bytes_max` but one item at least, and about how many bytes."""
        items: list[PeerItem] = []
        size = 0
        queue = self._queue
        while queue and (not items or size + queue[0].size <= bytes_max):
            sized = queue.popleft()
            items.append(sized.item)
            size += sized.size
        self._bytes -= size
        return items, size
