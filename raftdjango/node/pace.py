"""Whether a kind of work may hold up the event loop."""

from __future__ import annotations

from raftdjango.node.limits import FAST_AGAIN_COUNT, SLOW_S


class Pace:
    """How fast some work was lately; told by whichever thread does it, one at a time."""

    def __init__(self) -> None:
        self._slow_for = 0
        self.average_s = 0.0
        """Of the last ten or so; a single slow one counts no more than `SLOW_S`."""

    @property
    def is_fast(self) -> bool:
        """False for a number of times after it was slow."""
        return not self._slow_for

    def took(self, seconds: float) -> None:
        """It was done once more."""
        self.average_s += (min(seconds, SLOW_S) - self.average_s) / 8
        if seconds > SLOW_S:
            self._slow_for = FAST_AGAIN_COUNT
        elif self._slow_for:
            self._slow_for -= 1
