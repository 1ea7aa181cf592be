"""The membership in force, which is that of the last MEMBERSHIP entry in the log.

"A server always uses the latest configuration in its log, regardless of whether the entry is
committed" (paper §6).  So it changes with an append, and changes back when that entry is cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftcore.codec import decode_membership
from raftcore.types import Entry, Membership, SnapshotMeta

if TYPE_CHECKING:
    from raftcore.storage.protocol import LogReader


class MembershipHistory:
    """Memberships by the index where each came into force."""

    __slots__ = ("_history",)

    def __init__(self, first: Membership, index: int = 0) -> None:
        self._history: list[tuple[int, Membership]] = [(index, first)]

    @classmethod
    def of(cls, reader: LogReader, bootstrap: Membership) -> MembershipHistory:
        """Read the memberships of a log on disk.

        A compacted one begins with that of its snapshot, and `bootstrap` is forgotten (paper §7).
        """
        snapshot = reader.snapshot
        if snapshot is None:
            history, covered = cls(bootstrap), 0
        else:
            history, covered = cls.of_snapshot(snapshot), snapshot.index
        for index in reader.membership_indexes():
            if index > covered:
                history.append(reader.entries(index, index, 1)[0])
        if not history.index:
            _check_first(history.current)
        return history

    @classmethod
    def of_snapshot(cls, snapshot: SnapshotMeta) -> MembershipHistory:
        """What a log with nothing behind this snapshot knows."""
        return cls(snapshot.membership, snapshot.membership_index)

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
        """The one before it, which comes back if that entry is cut off; the first stays itself."""
        return self._history[-2 if len(self._history) > 1 else -1][1]

    def append(self, entry: Entry) -> None:
        """A MEMBERSHIP entry was appended."""
        self._history.append((entry.index, decode_membership(entry.data)))

    def truncate(self, first: int) -> None:
        """Entries from `first` on were cut off; what the log began with always stays."""
        while self._history[-1][0] >= first:
            self._history.pop()

    def at(self, index: int) -> tuple[int, Membership]:
        """The membership at this place of the log, and the entry that brought it."""
        return next(known for known in reversed(self._history) if known[0] <= index)

    def compact(self, index: int) -> None:
        """Forget what was in force before this place."""
        while len(self._history) > 1 and self._history[1][0] <= index:
            del self._history[0]


def _check_first(membership: Membership) -> None:
    """Of one that nobody has agreed upon: whoever wrote it may have made a mistake.

    Without voters it is right: such a node waits until somebody has added it.
    """
    if both := membership.voters & membership.learners:
        raise ValueError(f"Voters and learners at once: {', '.join(sorted(both))}.")
    if strangers := membership.witnesses - membership.members:
        raise ValueError(f"Witnesses, but no members: {', '.join(sorted(strangers))}.")
