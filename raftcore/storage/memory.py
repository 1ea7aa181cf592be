"""The log's in-memory twin: the same behaviour, gone with the process."""

from __future__ import annotations

from collections.abc import Sequence

from raftcore.storage.errors import LogFailed
from raftcore.storage.index import check_range
from raftcore.storage.sequence import check_contiguous, within_bytes
from raftcore.types import Entry, EntryKind, HardState


class MemoryLog:
    """A `LogStore` for tests and simulations."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._hard_state = HardState()
        self._closed = False

    @property
    def first_index(self) -> int:
        return 1

    @property
    def last_index(self) -> int:
        return len(self._entries)

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
        if not 1 <= index <= len(self._entries):
            raise IndexError(index)
        return self._entries[index - 1].term

    def membership_indexes(self) -> list[int]:
        """Where MEMBERSHIP entries are, in order."""
        return [one.index for one in self._entries if one.kind is EntryKind.MEMBERSHIP]

    def entries(self, first: int, last: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries from `first` to `last`: at least one, then as many as `bytes_max` of data allow."""
        check_range(first, last, 1, len(self._entries))
        return within_bytes(self._entries[first - 1 : last], bytes_max)

    def append(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Take hard state and entries; see `LogStore`."""
        self._check_open()
        if entries:
            first = check_contiguous(entries, 1, len(self._entries))
            self._entries[first - 1 :] = entries
        if hard_state is not None:
            self._hard_state = hard_state

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
