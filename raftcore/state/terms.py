"""Which term each index belongs to.

Terms never decrease along a log (Log Matching, paper §5.3), so a log of millions of entries is a
few dozen runs of equal terms: small enough to keep, and quick to search by index or by term.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raftcore.storage.protocol import LogReader


class TermRuns:
    """The log's runs of equal terms, by the index where each begins."""

    __slots__ = ("_starts", "_terms")

    def __init__(self) -> None:
        # Both rise strictly.
        self._starts: list[int] = []
        self._terms: list[int] = []

    @classmethod
    def of(cls, reader: LogReader) -> TermRuns:
        """Find the runs of a log on disk, by bisection rather than by reading it all."""
        runs = cls()
        index, last = reader.first_index, reader.last_index
        snapshot = reader.snapshot
        if snapshot is not None and snapshot.index == index - 1:
            # The first entry is checked against this one, which is gone (paper §7).
            runs.begin(snapshot.index, snapshot.term)
        while index <= last:
            term = reader.term(index)
            if term != runs.last_term:
                runs.begin(index, term)
            index = bisect_right(range(last + 1), term, lo=index + 1, key=reader.term)
        return runs

    @property
    def last_term(self) -> int:
        """The term of the last run; 0 when there is none."""
        return self._terms[-1] if self._terms else 0

    def begin(self, index: int, term: int) -> None:
        """From `index` on it is `term`."""
        self._starts.append(index)
        self._terms.append(term)

    def truncate(self, first: int) -> None:
        """Forget all from `first` on."""
        while self._starts and self._starts[-1] >= first:
            self._starts.pop()
            self._terms.pop()

    def compact(self, through: int) -> None:
        """Forget all before `through`, whose own term stays known; it is in the log."""
        run = bisect_right(self._starts, through) - 1
        del self._starts[:run]
        del self._terms[:run]
        self._starts[0] = through

    def term(self, index: int) -> int:
        """The term at `index`, which is in the log; 0 before it."""
        if self._starts and index >= self._starts[-1]:
            return self._terms[-1]
        run = bisect_right(self._starts, index)
        return self._terms[run - 1] if run else 0

    def last_at_most(self, index: int, term: int) -> int:
        """The greatest index up to `index` whose term is at most `term`.

        The one before the log if there is none.
        """
        run = bisect_right(self._terms, term)
        if run == len(self._terms):
            return index
        return min(index, self._starts[run] - 1)
