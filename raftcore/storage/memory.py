"""The log's in-memory twin: the same behaviour, gone with the process."""

from __future__ import annotations

from collections.abc import Sequence

from raftcore.storage.entry_runs import check_compaction, check_contiguous, within_bytes
from raftcore.storage.errors import LogFailed
from raftcore.storage.log_index import check_range
from raftcore.types import Entry, EntryKind, HardState, SnapshotMeta


class MemoryLog:
    """A `LogStore` for tests and simulations."""

    def __init__(self) -> None:
        self._first_index = 1
        self._entries: list[Entry] = []
        self._hard_state = HardState()
        self._snapshot: SnapshotMeta | None = None
        self._closed = False

    @property
    def snapshot(self) -> SnapshotMeta | None:
        return self._snapshot

    @property
    def first_index(self) -> int:
        return self._first_index

    @property
    def last_index(self) -> int:
        return self._first_index + len(self._entries) - 1

    @property
    def hard_state(self) -> HardState:
        return self._hard_state

    @property
    def size_bytes(self) -> int:
        """Bytes of data held."""
        return sum(len(entry.data) for entry in self._entries)

    @property
    def content_bytes(self) -> int:
        """The same: nothing is kept free."""
        return self.size_bytes

    def term(self, index: int) -> int:
        """Term of the entry at `index`, 0 for index 0."""
        if index == 0:
            return 0
        if not self._first_index <= index <= self.last_index:
            raise IndexError(index)
        return self._entries[index - self._first_index].term

    def membership_indexes(self) -> list[int]:
        """Where MEMBERSHIP entries are, in order."""
        return [one.index for one in self._entries if one.kind is EntryKind.MEMBERSHIP]

    def entries(self, first: int, last: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries from `first` to `last`: at least one, then as many as fit `bytes_max`."""
        check_range(first, last, self._first_index, self.last_index)
        start = first - self._first_index
        return within_bytes(self._entries[start : last + 1 - self._first_index], bytes_max)

    def bytes_after(self, index: int) -> int:
        """Bytes of the data of the entries behind `index`."""
        return sum(len(one.data) for one in self._entries[max(index + 1 - self._first_index, 0) :])

    def append(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Take hard state and entries; see `LogStore`."""
        self._check_open()
        if entries:
            first = check_contiguous(entries, self._first_index, self.last_index)
            self._entries[first - self._first_index :] = entries
        if hard_state is not None:
            self._hard_state = hard_state

    def compact(self, meta: SnapshotMeta, through: int) -> None:
        """Drop the entries up to `through`; see `LogStore`."""
        self._check_open()
        check_compaction(self, meta, through)
        if through >= self._first_index:
            del self._entries[: through + 1 - self._first_index]
            self._first_index = through + 1
        self._snapshot = meta

    def reset(self, meta: SnapshotMeta) -> None:
        """Begin anew behind a snapshot; see `LogStore`."""
        self._check_open()
        self._entries = []
        self._first_index = meta.index + 1
        self._snapshot = meta

    def sync(self) -> None:
        """Nothing to do: it lives no longer than the process."""
        self._check_open()

    def has_room(self, data_bytes: int) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Refuse writes from now on."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise LogFailed("The log was closed.")
