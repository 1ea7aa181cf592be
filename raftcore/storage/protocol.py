"""What the core and its driver need of a log on disk.

Reading is the core's (`LogReader`), writing the driver's (`LogStore`); both may happen on
different threads, writing on one only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raftcore.types import Entry, HardState


class LogReader(Protocol):
    """The durable part of the log."""

    @property
    def first_index(self) -> int:
        """Index of the oldest entry held; 1 until the log is compacted."""

    @property
    def last_index(self) -> int:
        """Index of the newest entry written, 0 when empty."""

    def term(self, index: int) -> int:
        """Term of the entry at `index` (0 for index 0); `IndexError` outside the log."""

    def membership_indexes(self) -> Sequence[int]:
        """Where MEMBERSHIP entries are, in order: a start must not have to read the whole log."""

    def entries(self, first: int, last: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries from `first` to `last`, both included; at least one, then up to `bytes_max`."""


class LogStore(LogReader, Protocol):
    """A log that survives crashes."""

    @property
    def hard_state(self) -> HardState:
        """The hard state written last."""

    def append(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Write; entries at or below `last_index` replace everything from the first of them on."""

    def sync(self) -> None:
        """Make all that was appended durable.  After a failure every later call raises."""

    def has_room(self, data_bytes: int) -> bool:
        """Whether entries with so much data go where there is room for them; else a sync takes longer."""

    def close(self) -> None:
        """Release files; nothing may be called afterwards."""
