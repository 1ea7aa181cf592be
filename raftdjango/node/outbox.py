"""What waits for one lane: put by the loop, taken by the lane's thread, bounded."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, NamedTuple

from raftcore.messages import AppendEntries
from raftdjango.node.peer_pb2 import Forward, MemberFacts

if TYPE_CHECKING:
    from raftdjango.node.peers import PeerItem

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
        self._queue: queue.SimpleQueue[Sized | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._bytes = 0
        self._next: Sized | None = None
        self._unfinished = 0
        self._carried = 0

    @property
    def idle(self) -> bool:
        """Nothing queued and nothing under way."""
        return not self._unfinished

    def put(self, item: PeerItem) -> list[PeerItem]:
        """Queue `item`; what had to be dropped for it.  One item always fits."""
        size = size_of(item)
        dropped: list[PeerItem] = []
        while self._queue.qsize() >= self._count_max or self._bytes + size > self._bytes_max:
            oldest = self._pop()
            if oldest is None:
                break
            dropped.append(oldest.item)
        with self._lock:
            self._bytes += size
            self._unfinished += 1 - len(dropped)
        self._queue.put(Sized(item, size))
        return dropped

    def _pop(self) -> Sized | None:
        try:
            sized = self._queue.get_nowait()
        except queue.Empty:
            return None
        return self._taken(sized)

    def _taken(self, sized: Sized | None) -> Sized | None:
        if sized is not None:
            with self._lock:
                self._bytes -= sized.size
        return sized

    def take(self, bytes_max: int) -> list[PeerItem]:
        """Wait for an item, then take all that is queued, up to `bytes_max` but one at least.

        Returns nothing when woken to stop.  For the lane's thread alone; to ask again says that
        what was taken before is done with.
        """
        with self._lock:
            self._unfinished -= self._carried
            self._carried = 0
        first = self._next or self._taken(self._queue.get())
        self._next = None
        if first is None:
            return []
        items, size = [first.item], first.size
        while (sized := self._pop()) is not None:
            if size + sized.size > bytes_max:
                self._next = sized
                break
            items.append(sized.item)
            size += sized.size
        self._carried = len(items)
        return items

    def wake(self) -> None:
        """Have `take` return, with nothing if nothing was queued."""
        self._queue.put(None)
