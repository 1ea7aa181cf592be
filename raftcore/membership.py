"""The membership in force, which is that of the last MEMBERSHIP entry in the log.

"A server always uses the latest configuration in its log, regardless of whether the entry is
committed" (paper §6).  So it changes with an append, and changes back when that entry is cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftcore.codec import decode_membership
from raftcore.types import Entry, Membership

if TYPE_CHECKING:
    from raftcore.storage.protocol import LogReader


class MembershipHistory:
    """Memberships by the index where each came into force."""

    __slots__ = ("_history",)

    def __init__(self, bootstrap: Membership) -> None:
        self._history: list[tuple[int, Membership]] = [(0, bootstrap)]

    @classmethod
    def of(cls, reader: LogReader, bootstrap: Membership) -> MembershipHistory:
        """Read the memberships of a log on disk."""
        history = cls(bootstrap)
        for index in reader.membership_indexes():
            history.append(reader.entries(index, index, 1)[0])
        return history

    @property
    def current(self) -> Membership:
        """The one in force."""
        return self._history[-1][1]

    @property
    def index(self) -> int:
        """Of the entry that holds it; 0 for `bootstrap`."""
        return self._history[-1][0]

    @property
    def previous(self) -> Membership:
        """The one before it, which comes back if that entry is cut off; `bootstrap` stays itself."""
        return self._history[-2 if len(self._history) > 1 else -1][1]

    def append(self, entry: Entry) -> None:
        """A MEMBERSHIP entry was appended."""
        self._history.append((entry.index, decode_membership(entry.data)))

    def truncate(self, first: int) -> None:
        """Entries from `first` on were cut off; `bootstrap` always stays."""
        while self._history[-1][0] >= first:
            self._history.pop()
