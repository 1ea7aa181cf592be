"""Where each entry is: the terms of all entries and the frames that hold them, in flat arrays.

A million entries take 8 MB for their terms; frames take 28 bytes each.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from raftcore.types import EntryKind


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of entries to be read from one frame."""

    segment: int
    offset: int
    length: int
    skip: int
    """Entries of the frame before the first that is wanted."""
    count: int


class LogIndex:
    """The log's extent and terms, and which frame holds what.

    Frames begin at strictly rising indexes.  A frame may hold entries beyond the next one's begin:
    those were replaced by it.  The first one may hold entries before the log's first: those were
    compacted.
    """

    def __init__(self, first_index: int = 1) -> None:
        self.first_index = first_index
        self._terms = array("Q")
        self._memberships: list[int] = []
        self._frame_first = array("Q")
        self._frame_segment = array("I")
        self._frame_offset = array("Q")
        self._frame_total = array("Q")
        """Bytes of all frames up to and with this one, so that any number is a subtraction."""
        self._total_before = 0

    @property
    def last_index(self) -> int:
        return self.first_index + len(self._terms) - 1

    def term(self, index: int) -> int:
        if index == 0:
            return 0
        if not self.first_index <= index <= self.last_index:
            raise IndexError(index)
        return self._terms[index - self.first_index]

    def membership_indexes(self) -> list[int]:
        return list(self._memberships)

    def replace_from(self, first: int, terms: Sequence[int], kinds: bytes) -> None:
        """Forget all from `first` on, then continue with entries of these terms and kinds.

        What was compacted of them is left out.
        """
        self._cut_frames(bisect_left(self._frame_first, first), len(self._frame_first))
        if (compacted := self.first_index - first) > 0:
            first, terms, kinds = self.first_index, terms[compacted:], kinds[compacted:]
        position = first - self.first_index
        if position > len(self._terms):
            raise IndexError(first)
        if position < len(self._terms):
            del self._terms[position:]
            del self._memberships[bisect_left(self._memberships, first) :]
        self._terms.extend(terms)
        found = kinds.find(EntryKind.MEMBERSHIP)
        while found >= 0:
            self._memberships.append(first + found)
            found = kinds.find(EntryKind.MEMBERSHIP, found + 1)

    def add_frame(self, first: int, segment: int, offset: int, length: int) -> None:
        """Entries from `first` on are in this frame."""
        self._frame_total.append(self._total(len(self._frame_total) - 1) + length)
        self._frame_first.append(first)
        self._frame_segment.append(segment)
        self._frame_offset.append(offset)

    def first_segment(self, first_index: int, last_framed: int) -> int | None:
        """The oldest segment that entries from `first_index` on need; None if none has a frame."""
        if first_index > last_framed:
            return None
        return self._frame_segment[bisect_right(self._frame_first, first_index) - 1]

    def compact(self, first_index: int, last_framed: int) -> None:
        """Forget all before `first_index`, and the frames that held nothing else."""
        cut = len(self._frame_first)
        if first_index <= last_framed:
            cut = bisect_right(self._frame_first, first_index) - 1
        self._cut_frames(0, cut)
        del self._terms[: first_index - self.first_index]
        del self._memberships[: bisect_left(self._memberships, first_index)]
        self.first_index = first_index

    def _cut_frames(self, start: int, stop: int) -> None:
        if start == 0:
            self._total_before = self._total(stop - 1)
        for column in (
            self._frame_first,
            self._frame_segment,
            self._frame_offset,
            self._frame_total,
        ):
            del column[start:stop]

    def _total(self, frame: int) -> int:
        return self._frame_total[frame] if frame >= 0 else self._total_before

    def bytes_after(self, index: int, last_framed: int) -> int:
        """Bytes of the frames that hold the entries behind `index`, of which none has gone."""
        if index >= last_framed:
            return 0
        frame = bisect_right(self._frame_first, index + 1) - 1
        return self._frame_total[-1] - self._total(frame - 1)

    def spans(self, first: int, last: int, bytes_max: int) -> list[Span]:
        """The frames to read, in order, for entries `first` to `last`, all of them in frames.

        At least one, then no more than `bytes_max` bytes of them.
        """
        found: list[Span] = []
        frame = bisect_right(self._frame_first, first) - 1
        while first <= last:
            length = self._frame_total[frame] - self._total(frame - 1)
            bytes_max -= length
            if found and bytes_max < 0:
                break
            begin = self._frame_first[frame]
            following = frame + 1
            stop = last + 1
            if following < len(self._frame_first):
                stop = min(stop, self._frame_first[following])
            found.append(
                Span(
                    self._frame_segment[frame],
                    self._frame_offset[frame],
                    length,
                    first - begin,
                    stop - first,
                )
            )
            first = stop
            frame = following
        return found


def check_range(first: int, last: int, first_index: int, last_index: int) -> None:
    """Raise `IndexError` unless both ends are within the log and in order."""
    if not first_index <= first <= last <= last_index:
        raise IndexError(
            f"entries {first} to {last} of a log that holds {first_index} to {last_index}"
        )
