"""Whether a kind of work may hold up the event loop."""

from __future__ import annotations

REMEMBERED = 8
OUTLIER = 2 * REMEMBERED
"""What took longer than so many times the limit counts as that: one such is over it, and is
forgotten after half a dozen that were fast."""


class Pace:
    """How long some work took lately; told by whichever thread does it, one at a time."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._average_s = 0.0

    @property
    def is_fast(self) -> bool:
        """Whether it took no more than the limit on average."""
        return self._average_s <= self._limit_s

    def took(self, seconds: float) -> None:
        """It was done once more."""
        counted_s = min(seconds, OUTLIER * self._limit_s)
        self._average_s += (counted_s - self._average_s) / REMEMBERED
