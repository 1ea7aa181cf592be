"""What is committed, and everything that follows from it: the state and the membership anywhere."""

from __future__ import annotations

from bisect import bisect_right

from raftcore import Entry, EntryKind, Membership, SnapshotMeta
from raftcore.codec import decode_membership
from tests.sim.kv import KeyValues


class Reference:
    """One log without nodes."""

    def __init__(self, bootstrap: Membership) -> None:
        self.entries: list[Entry] = []
        self._kv = KeyValues()
        self._states = [self._kv.snapshot()]
        """By index; made when asked for."""
        self._memberships = [(0, bootstrap)]

    def add(self, entry: Entry) -> None:
        """This is committed next."""
        self.entries.append(entry)
        if entry.kind is EntryKind.MEMBERSHIP:
            self._memberships.append((entry.index, decode_membership(entry.data)))

    def state(self, index: int) -> bytes:
        """The state machine's state once everything up to `index` is applied."""
        for entry in self.entries[len(self._states) - 1 : index]:
            self._kv.apply(entry)
            self._states.append(self._kv.snapshot())
        return self._states[index]

    def membership(self, index: int) -> tuple[int, Membership]:
        """The one in force there, and the entry that brought it."""
        return self._memberships[bisect_right(self._memberships, index, key=lambda one: one[0]) - 1]

    def meta(self, index: int, size: int = 0) -> SnapshotMeta:
        """What a snapshot of the state there stands for."""
        entry = self.entries[index - 1]
        membership_index, membership = self.membership(index)
        return SnapshotMeta(index, entry.term, entry.time_ms, membership, membership_index, size)
