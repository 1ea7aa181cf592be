"""Processes of one machine that wait for the same thing, in the order in which they came.

Who waits writes a ticket, the time since when, into a memory-mapped file, and looks there how many have
older ones.  Only the first in line asks for what all of them wait for; the others look up when about half
of their wait is over, so that a long line costs little.  The line guards nothing: it only keeps a
crowd from asking at once.  So whoever has not been seen for a while (dead, stopped, starved) is passed
by, and takes his old place again when he comes back.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ABSENT_NS = 100_000_000
"""Who has not looked for so long is not waited for."""
GONE_NS = 10_000_000_000
"""Whose ticket is thrown away: dead, most likely, or of before a reboot; else he writes it anew."""
PLACE_S = 0.002
"""What one turn is taken to last until the line has moved."""
PAUSE_S_MIN, PAUSE_S_MAX = 0.000_5, 0.03


class Line:
    """The waiting processes; `words` are two for each place that there is."""

    def __init__(self, words: memoryview, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        count = len(words) // 2
        self._tickets, self._seen = words[:count], words[count:]
        self.now_ns = now_ns

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits, as far as can be seen at a glance."""
        return not any(self._tickets)

    def ahead(self, place: int, since_ns: int) -> int:
        """Stand in line since then, or stay in it; how many come before."""
        now = self.now_ns()
        self._seen[place], self._tickets[place] = now, since_ns
        ahead = 0
        for other, ticket in enumerate(self._tickets.tolist()):
            if ticket and other != place and (ticket, other) < (since_ns, place):
                absent = now - self._seen[other]
                if 0 <= absent < ABSENT_NS:
                    ahead += 1
                elif not 0 <= absent < GONE_NS:
                    self._tickets[other] = 0
        return ahead

    def leave(self, place: int) -> None:
        """The wait is over."""
        self._tickets[place] = 0


class Wait:
    """One wait in line: when to look next."""

    def __init__(self, line: Line, place: int, since_ns: int) -> None:
        self._line = line
        self._place = place
        self._since_ns = since_ns
        self._begun: tuple[int, int] | None = None
        """How many were ahead at the first look, and when that was."""

    def look(self) -> float:
        """0 for the first in line; else the seconds until about half of the wait is over."""
        ahead = self._line.ahead(self._place, self._since_ns)
        if not ahead:
            return 0.0
        now = self._line.now_ns()
        if self._begun is None:
            self._begun = ahead, now
        moved = self._begun[0] - ahead
        turn_s = (now - self._begun[1]) / moved / 1e9 if moved > 0 else PLACE_S
        return min(max(turn_s * ahead / 2, PAUSE_S_MIN), PAUSE_S_MAX)

    def end(self) -> None:
        """Out of line."""
        self._line.leave(self._place)
