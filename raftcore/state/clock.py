"""Cluster time: a millisecond counter that leaders stamp on entries, never a wall clock.

Between two stamps a node lets it run on by its own elapsed time.  It never runs backwards on one
node, and so never decreases along the log: a leader has observed every entry it holds.
"""

from __future__ import annotations


class ClusterClock:
    """This node's estimate of cluster time."""

    __slots__ = ("_at_ms", "_value_ms")

    def __init__(self, value_ms: int, now_ms: int) -> None:
        self._value_ms = value_ms
        self._at_ms = now_ms

    def read(self, now_ms: int) -> int:
        """Cluster time by now."""
        elapsed_ms = now_ms - self._at_ms
        return self._value_ms + elapsed_ms if elapsed_ms > 0 else self._value_ms

    def observe(self, value_ms: int, now_ms: int) -> None:
        """Somebody's stamp: catch up with it where it is ahead."""
        self._value_ms = max(value_ms, self.read(now_ms))
        self._at_ms = max(now_ms, self._at_ms)
