"""The write lock, kept for the applier while a commit that holds up others is on its way.

A block that ends gives its database's lock back, and is applied a moment later.  Where its thread has
blocks in other databases open, somebody could take the lock in between and then wait for one of those:
each of the two would wait for the other, until the applier has one of them doomed.  So the lock is
nobody's in between.

Nothing rests on it: it is forgotten when it is old, as what a process leaves behind that was killed.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEPT_NS = 1_000_000_000
"""A commit that takes longer waits for something else."""
SINCE = 0
"""Word: in monotonic nanoseconds since when it is kept, 0 for no."""


class Keeping:
    """Whether one database's lock is kept, for all processes that share the word."""

    def __init__(
        self, words: memoryview[int] | list[int], now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._words = words
        self._now_ns = now_ns

    def __bool__(self) -> bool:
        since_ns = self._words[SINCE]
        return bool(since_ns) and 0 <= self._now_ns() - since_ns < KEPT_NS

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Nobody but the applier takes the lock meanwhile; call it while it is held."""
        since_ns = self._words[SINCE] = self._now_ns()
        try:
            yield
        finally:
            if self._words[SINCE] == since_ns:  # else another one's by now
                self._words[SINCE] = 0
