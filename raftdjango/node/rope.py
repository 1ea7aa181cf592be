"""Bytes in several pieces that are read as if they were one; they never are copied into one."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Rope:
    """See above."""

    __slots__ = ("_ends", "pieces")

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self._ends = list(accumulate(map(len, pieces)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start` on, copied once."""
        parts: list[memoryview] = []
        number = bisect_right(self._ends, start)
        while length > 0 and number < len(self.pieces):
            offset = start - (self._ends[number - 1] if number else 0)
            part = memoryview(self.pieces[number])[offset : offset + length]
            parts.append(part)
            start += len(part)
            length -= len(part)
            number += 1
        return b"".join(parts)
