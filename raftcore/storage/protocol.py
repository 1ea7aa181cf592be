"""What the core and its driver need of a log on disk.

Reading is the core's (`LogReader`), writing the driver's (`LogStore`), which says which threads may
do what.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raftcore.types import Entry, HardState, SnapshotMeta


class LogReader(Protocol):
    """The durable part of the log."""

    @property
    def snapshot(self) -> SnapshotMeta | None:
        """What `compact` or `reset` was told last; None in a log that holds all that ever was.

        Entries that it covers may still be held, so `first_index - 1 <= snapshot.index`, and
        `snapshot.index <= last_index`: where all of them are gone, both are its index.
        """

    @property
    def first_index(self) -> int:
        """Index of the oldest entry held, or of the next where none is; 1 until `compact`."""

    @property
    def last_index(self) -> int:
        """Index of the newest entry written; that of the snapshot where none is, 0 without one."""

    def term(self, index: int) -> int:
        """Term of the entry at `index` (0 for index 0); `IndexError` outside the log."""

    def membership_indexes(self) -> Sequence[int]:
        """Where MEMBERSHIP entries are, in order: a start must not have to read the whole log."""

    def entries(self, first: int, last: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries from `first` to `last`, both included; at least one, then up to `bytes_max`."""

    def bytes_after(self, index: int) -> int:
        """About how many bytes the entries behind `index` take: says when to compact.

        Cheap, and never far too low; of those that are not held any more, nothing.
        """


class LogStore(LogReader, Protocol):
    """A log that survives crashes.

    Threads: `append`, `sync` and `reset` are called by one thread at a time, the writer.  Reading
    is for any thread, at any time.  `compact` is for any thread too, beside reading and writing,
    but one at a time and not beside `reset`: a driver that has begun a `Compact` finishes it before
    it carries out an `InstallSnapshot`.  `close` comes when all of that has ended.
    """

    @property
    def hard_state(self) -> HardState:
        """The hard state written last."""

    def append(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Write; entries at or below `last_index` replace everything from the first of them on."""

    def compact(self, meta: SnapshotMeta, through: int) -> None:
        """A snapshot covers the log up to `meta.index`: entries up to `through` may go.

        `through <= meta.index <= last_index`, and `meta` is of this log.  From now on `snapshot` is
        `meta`.  How many entries really go is the log's own business, as long as it is none
        behind `through`; there may be none to go.  A crash may leave the log as it was before.
        """

    def reset(self, meta: SnapshotMeta) -> None:
        """The snapshot takes the place of the whole log, and the next entry is `meta.index + 1`.

        The hard state stays.  Ordered with `append` and made durable by `sync` as that is; after a
        crash before it the log is the one before or the one after, never a mixture.
        """

    def sync(self) -> None:
        """Make all that was appended durable.  After a failure every later call raises."""

    def has_room(self, data_bytes: int) -> bool:
        """Whether there is room for entries with so much data; else a sync takes longer."""

    def close(self) -> None:
        """Release files; nothing may be called afterwards."""
