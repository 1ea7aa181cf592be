"""Auto-increment keys, assigned before a row is written.

Keys come in blocks leased through the log: the raftnode leases, and hands blocks to its workers along
with commit answers or when asked.  So two nodes never give the same key, and a create costs no round
of its own.  Keys are unique and never given twice; they are not ordered, and blocks lost with a
process leave gaps.

A lease protects from other leases only.  A key that somebody chose himself may lie inside one, so a
block is skipped up to behind any key that the local database already has, and a collision that was
not seen in time is a constraint like any other: drawn again in autocommit, a conflict in a block.

Statements in the log may reset a sequence, and its keys are then leased once more.  So keys are drawn
for a version of the schema (the log index of the last entry with statements), from leases made behind
it, and what was drawn before is thrown away; a write-set that is applied at another version than its
own is a conflict.  Between them no key of an older lease gets into the database.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from raftdjango.client import NodeClient

    Probe = Callable[[int, int], int | None]
    """Largest key that exists locally from the first to the last given; None if there is none."""

BLOCK_MIN, BLOCK_MAX = 8, 1024
"""Keys that a process asks for at a time, per table."""
GROW_S, SHRINK_S = 1.0, 30.0
"""A block used up sooner asks for twice as many next time, one that lasted longer for half."""


class OutdatedKeys(Exception):
    """Keys were drawn for a schema that is not the newest any more: draw again."""


class _Stock:
    """The unused keys of one table, and how many to ask for."""

    __slots__ = ("block", "filled_at", "ranges", "version")

    def __init__(self, version: int = 0) -> None:
        self.ranges: deque[range] = deque()
        self.block = BLOCK_MIN
        self.filled_at = float("-inf")
        self.version = version
        """Of the schema that its keys are for."""

    def move_on(self, version: int) -> None:
        """Keep nothing that was drawn under an older schema."""
        if version > self.version:
            self.version = version
            self.ranges.clear()

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    def draw(self, count: int) -> range:
        """The next keys that follow each other, `count` at most; an empty range if none is left."""
        if not self.ranges:
            return range(0)
        first = self.ranges[0]
        if len(first) <= count:
            return self.ranges.popleft()
        self.ranges[0] = first[count:]
        return first[:count]

    def draw_above(self, count: int, above: int) -> range:
        """`count` keys that follow each other, larger than `above`; an empty range if there are none."""
        for place, keys in enumerate(self.ranges):
            first = max(keys.start, above + 1)
            if keys.stop - first >= count:
                del self.ranges[place]
                rest = (range(keys.start, first), range(first + count, keys.stop))
                for part in filter(None, reversed(rest)):
                    self.ranges.insert(place, part)
                return range(first, first + count)
        return range(0)

    def skip_past(self, key: int) -> None:
        """Forget the keys up to `key` of the range that it lies in."""
        kept = (range(key + 1, r.stop) if key in r else r for r in self.ranges)
        self.ranges = deque(r for r in kept if r)

    def adapt(self, now: float) -> None:
        """Size the next block by how long this one lasted."""
        lasted = now - self.filled_at
        if lasted < GROW_S:
            self.block = min(self.block * 2, BLOCK_MAX)
        elif lasted > SHRINK_S:
            self.block = max(self.block // 2, BLOCK_MIN)
        self.filled_at = now


class KeyAllocator:
    """Keys of one database alias for all threads of this process."""

    def __init__(self) -> None:
        self._forget_process()
        _everybody.add(self)

    def _forget_process(self) -> None:
        """Own nothing: a forked child must not give keys that its parent gives as well."""
        self._lock = threading.Lock()
        self._stocks: dict[str, _Stock] = {}
        self._low: set[str] = set()

    def take(
        self,
        client: NodeClient,
        table: str,
        count: int,
        *,
        timeout_s: float,
        version: int = 0,
        probe: Probe | None = None,
        into: list[int] | None = None,
    ) -> list[int]:
        """`count` keys that nobody else is given, for rows that are written at this version of the
        schema; asks the node when there are not enough.

        They are added to `into` one block after the other, so that those taken before the node
        failed are not lost.
        """
        taken = [] if into is None else into
        taken.extend(self.take_stocked(table, count, version=version, probe=probe))
        while missing := count - len(taken):
            lease = client.lease_keys(table, missing, timeout_s=timeout_s, after=version)
            if not lease:
                raise RuntimeError(f"The node leased no keys for {table}.")  # pragma: no cover
            # Its first keys are taken at once, or another thread might always be faster.
            mine, rest = lease[:missing], lease[missing:]
            self.feed({table: rest}, version)
            taken.extend(self._unused(table, mine, probe))
        return taken

    def take_stocked(
        self, table: str, count: int, *, version: int = 0, probe: Probe | None = None
    ) -> list[int]:
        """Up to `count` keys of the blocks at hand, without asking anybody."""
        taken: list[int] = []
        while missing := count - len(taken):
            with self._lock:
                stock = self._stock(table, version)
                drawn = stock.draw(missing)
                if len(stock) * 2 < stock.block:
                    self._low.add(table)
            if not drawn:
                break
            taken.extend(self._unused(table, drawn, probe))
        return taken

    def take_above(
        self,
        client: NodeClient,
        table: str,
        count: int,
        *,
        above: int,
        timeout_s: float,
        version: int = 0,
    ) -> range:
        """`count` keys that follow each other, larger than `above`.

        Others, if the node has none such: `above` may be a key that nobody else knows of yet.
        """
        with self._lock:
            stock = self._stock(table, version)
            drawn = stock.draw_above(count, above)
            if len(stock) * 2 < stock.block:
                self._low.add(table)
        return drawn or client.lease_keys(
            table, count, timeout_s=timeout_s, after=version, above=above
        )

    def _unused(self, table: str, keys: range, probe: Probe | None) -> range:
        """The keys behind those that somebody chose himself."""
        last_used = probe(keys.start, keys.stop - 1) if probe else None
        if last_used is None:
            return keys
        self.skip_past(table, last_used)
        return range(last_used + 1, keys.stop)

    def skip_past(self, table: str, key: int) -> None:
        """Give no key of the block that `key` lies in up to it."""
        with self._lock:
            if stock := self._stocks.get(table):
                stock.skip_past(key)

    def wanted(self) -> dict[str, int]:
        """Blocks to ask for along with the next proposal: tables in use that run low."""
        if not self._low:
            return {}
        with self._lock:
            low, self._low = self._low, set()
            return {table: self._stocks[table].block for table in low if table in self._stocks}

    def feed(self, keys: Mapping[str, range], version: int = 0) -> None:
        """Keep blocks that were asked for at this version of the schema."""
        if not keys:
            return
        now = time.monotonic()
        with self._lock:
            for table, block in keys.items():
                stock = self._stock(table, version)
                if block and version == stock.version:
                    stock.adapt(now)
                    stock.ranges.append(block)

    def reset(self) -> None:
        """Forget all blocks."""
        with self._lock:
            self._stocks.clear()
            self._low.clear()

    def _stock(self, table: str, version: int) -> _Stock:
        stock = self._stocks.get(table)
        if stock is None:
            stock = self._stocks[table] = _Stock(version)
        stock.move_on(version)
        return stock


_everybody: weakref.WeakSet[KeyAllocator] = weakref.WeakSet()
_allocators: dict[str, KeyAllocator] = {}
_lock = threading.Lock()


def allocator_of(alias: str) -> KeyAllocator:
    """The allocator that all connections of an alias share in this process."""
    with _lock:
        return _allocators.setdefault(alias, KeyAllocator())


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for allocator in list(_everybody):
        allocator._forget_process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
