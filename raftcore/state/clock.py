"""Cluster time: a millisecond counter that leaders stamp on entries, never a wall clock.

Between two stamps a node lets it run on by its own elapsed time.  It never runs backwards on one
node, and so never decreases along the log: a leader has observed every entry it holds.
"""

from __future__ import annotations

from raftcore.codec import NUMBER_MAX

STEP_MAX_MS = 1 << 30
"""Some twelve days."""


class ClusterClock:
    """This node's estimate of cluster time."""

    __slots__ = ("_at_ms", "_value_ms")

    def __init__(self, value_ms: int, now_ms: int) -> None:
        self._value_ms = value_ms
        self._at_ms = now_ms

    def read(self, now_ms: int) -> int:
        """Cluster time by now; it stands still where the numbers end."""
        elapsed_ms = now_ms - self._at_ms
        return min(self._value_ms + elapsed_ms, NUMBER_MAX) if elapsed_ms > 0 else self._value_ms

    def observe(self, value_ms: int, now_ms: int) -> None:
        """Somebody's stamp: catch up with it where it is ahead."""
        self._value_ms = max(value_ms, self.read(now_ms))
        self._at_ms = max(now_ms, self._at_ms)

    def follow(self, value_ms: int, now_ms: int) -> None:
        """A leader's estimate, which no entry holds: catch up with it by steps.

        Else one message would bring the time to its end for good.
        """
        self.observe(min(value_ms, self.read(now_ms) + STEP_MAX_MS), now_ms)
