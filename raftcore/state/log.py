"""The log as the protocol sees it: what is on disk, and what is on its way there.

Below the tail entries are read from the `LogReader`; the tail itself is in memory and holds at
least every entry that is not durable, not committed or not handed out to be applied, and beyond
those a bounded number of recent ones.  Before the first entry stands a boundary: an entry that is
covered by a snapshot and of which only the term is needed (paper §7).  What was ever committed is
never cut off (State Machine Safety, paper §5.4.3): an attempt is an `InvariantViolation`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

from raftcore.errors import InvariantViolation
from raftcore.state.membership import MembershipHistory
from raftcore.state.terms import TermRuns
from raftcore.state.writes import Writes
from raftcore.types import Entry, EntryKind, Membership, SnapshotMeta

if TYPE_CHECKING:
    from raftcore.storage.protocol import LogReader

ENTRY_OVERHEAD_BYTES = 64
"""Counted for each entry beside its data, so that a million empty ones are not free."""


def entry_size(entry: Entry) -> int:
    """What an entry counts for wherever bytes are bounded."""
    return len(entry.data) + ENTRY_OVERHEAD_BYTES


class RaftLog:
    """Invariants: applied <= commit_index <= last_index; stable_index <= last_index;
    first_index - 1 <= snapshot.index <= commit_index."""

    __slots__ = (
        "_base",
        "_cache_bytes_max",
        "_ends",
        "_memberships",
        "_offered",
        "_reader",
        "_tail",
        "_tail_first",
        "_terms",
        "_total",
        "commit_index",
        "first_index",
        "last_index",
        "snapshot",
        "stable_index",
        "writes",
    )

    def __init__(
        self, reader: LogReader, *, bootstrap: Membership, applied_index: int, cache_bytes_max: int
    ) -> None:
        last_index = reader.last_index
        snapshot = _checked_snapshot(reader)
        if not reader.first_index - 1 <= applied_index <= last_index:
            raise InvariantViolation(
                f"Applied up to {applied_index}, but the log holds {reader.first_index} to "
                f"{last_index}: one of the two was lost or restored."
            )
        self._reader = reader
        self._cache_bytes_max = cache_bytes_max
        self.writes = Writes()
        self.last_index = last_index
        self.stable_index = last_index
        """Durable here up to this index."""
        self.commit_index = max(applied_index, snapshot.index if snapshot else 0)
        self.snapshot = snapshot
        """The newest one of this log, or what it began with."""
        self.first_index = reader.first_index
        """The oldest entry that can be sent: the term of the one before it is known."""
        if snapshot is not None and 1 < reader.first_index <= snapshot.index:
            # Of the entry before the oldest on disk nothing is known, so that one is the boundary;
            # but before the very first there is none.
            self.first_index += 1
        # Handed out to be written, up to this index.
        self._offered = last_index
        self._terms = TermRuns.of(reader)
        self._memberships = MembershipHistory.of(reader, bootstrap)
        # The tail begins at index _tail_first.  _ends holds the running total of sizes behind each
        # of its entries, _base the one before the first, _total the one behind the last: any
        # range's bytes are a subtraction.
        self._tail: list[Entry] = []
        self._tail_first = last_index + 1
        self._ends: list[int] = []
        self._base = 0
        self._total = 0

    # ------------------------------------------------------------------ reading

    @property
    def last_term(self) -> int:
        """Term of the last entry; 0 for an empty log."""
        return self._terms.last_term

    @property
    def membership(self) -> Membership:
        """The latest membership in the log, committed or not."""
        return self._memberships.current

    @property
    def membership_index(self) -> int:
        """Where the latest membership stands; 0 if it is not in the log."""
        return self._memberships.index

    def memberships_that_may_count(self) -> list[Membership]:
        """The one in force, and while that is not known to be committed, the one before it."""
        history = self._memberships
        if history.index <= self.commit_index:
            return [history.current]
        return [history.current, history.previous]

    @property
    def uncommitted_bytes(self) -> int:
        """What waits to be committed.  Derived, so that no change of term makes it stale."""
        committed = self.commit_index - self._tail_first
        return self._total - (self._ends[committed] if committed >= 0 else self._base)

    @property
    def memory_bytes(self) -> int:
        """What the entries in memory count for."""
        return self._total - self._base

    def bytes_between(self, index: int, last: int) -> int:
        """About what the entries behind `index`, up to `last`, take on the disk."""
        return self._reader.bytes_after(index) - self._reader.bytes_after(last)

    @property
    def snapshot_index(self) -> int:
        """What the newest snapshot covers; 0 without one."""
        return self.snapshot.index if self.snapshot is not None else 0

    def meta(self, index: int) -> SnapshotMeta:
        """What a snapshot of the state up to here, behind the newest one, would stand for."""
        membership_index, membership = self._memberships.at(index)
        time_ms = self.entries(index, index, 1)[0].time_ms
        return SnapshotMeta(index, self.term(index), time_ms, membership, membership_index)

    def term(self, index: int) -> int:
        """Term of the entry at `index`, 0 at 0; the index is in the log, or just before it."""
        return self._terms.term(index)

    def last_time_ms(self) -> int:
        """Cluster time of the last entry; 0 for an empty log."""
        if self._tail:
            return self._tail[-1].time_ms
        if self.snapshot is not None and self.snapshot.index == self.last_index:
            return self.snapshot.time_ms
        if not self.last_index:
            return 0
        return self._reader.entries(self.last_index, self.last_index, 1)[0].time_ms

    def matches(self, index: int, term: int) -> bool:
        """Whether an entry of this index and term is in the log (paper §5.3, consistency check)."""
        if index > self.last_index:
            return False
        if index < self.first_index - 1:
            # Compacted: only committed entries are, and those are equal everywhere.
            return True
        if self._terms.term(index) == term:
            return True
        if index <= self.commit_index:
            raise InvariantViolation(
                f"Entry {index} was committed here in term {self._terms.term(index)}, "
                f"and a leader has it in term {term}."
            )
        return False

    def holds(self, index: int, term: int) -> bool:
        """Whether this very entry is in the log; it is not committed here yet."""
        return index <= self.last_index and self._terms.term(index) == term

    def last_index_at_most(self, index: int, term: int) -> int:
        """The last place up to `index` where this log can agree with one that has `term` there.

        Terms never decrease along a log, so behind the other's entry of `term` everything here of
        a later term differs (paper §5.3, end, for both sides of the conversation).
        """
        return self._terms.last_at_most(min(index, self.last_index), term)

    def in_memory(self, index: int) -> bool:
        """Whether reading this entry costs no access to the disk."""
        return index >= self._tail_first

    def entries(self, first: int, last: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries from `first` to at most `last`: at least one, then up to `bytes_max`."""
        start = first - self._tail_first
        if start < 0:
            return self._reader.entries(first, min(last, self._tail_first - 1), bytes_max)
        before = self._ends[start - 1] if start else self._base
        stop = last - self._tail_first + 1
        if self._ends[stop - 1] - before > bytes_max:
            stop = bisect_right(self._ends, before + bytes_max, start + 1, stop)
        return tuple(self._tail[start:stop])

    # ------------------------------------------------------------------ writing

    def append(self, entry: Entry) -> None:
        """Add one entry behind the last."""
        if entry.index != self.last_index + 1 or entry.term < self._terms.last_term:
            raise InvariantViolation(f"{entry!r} does not continue a log of {self.last_index}")
        if entry.kind is EntryKind.MEMBERSHIP:
            # First of all: it is the one part that can fail, and then nothing may have changed.
            self._memberships.append(entry)
        if entry.term != self._terms.last_term:
            self._terms.begin(entry.index, entry.term)
        self._total += len(entry.data) + ENTRY_OVERHEAD_BYTES
        self._tail.append(entry)
        self._ends.append(self._total)
        self.last_index = entry.index

    def graft(self, entries: Sequence[Entry]) -> None:
        """Take a leader's entries, whose predecessor matches.

        "If an existing entry conflicts with a new one (same index but different terms), delete the
        existing entry and all that follow it; append any new entries not already in the log"
        (paper, Figure 2).  Only a conflict deletes: a message that ends early says nothing about
        what follows, it may have been sent before that.
        """
        known = min(len(entries), self.last_index - entries[0].index + 1) if entries else 0
        if known > 0 and not self.matches(entries[known - 1].index, entries[known - 1].term):
            # Logs that agree in one place agree before it (Log Matching), so look for the first.
            known = next(
                i for i, entry in enumerate(entries) if not self.matches(entry.index, entry.term)
            )
            self._truncate(entries[known].index)
        for entry in entries[known:]:
            self.append(entry)

    def commit_to(self, index: int) -> None:
        """Raise the commit index; it never falls."""
        if index > self.last_index:
            raise InvariantViolation(
                f"Told that {index} is committed, but this log ends at {self.last_index}: "
                "this node has lost entries that it acknowledged. Its folder was wiped, or "
                "restored from an older copy: bring the newer one back, or let the machine come "
                "back as a new member, with a new node id and empty files."
            )
        self.commit_index = max(self.commit_index, index)

    def _truncate(self, first: int) -> None:
        if first <= self.commit_index:
            raise InvariantViolation(
                f"Entries from {first} on are to be replaced, but {self.commit_index} is committed."
            )
        keep = max(first - self._tail_first, 0)
        del self._tail[keep:]
        del self._ends[keep:]
        self._total = self._ends[-1] if self._ends else self._base
        self._tail_first = min(self._tail_first, first)
        self._terms.truncate(first)
        self._memberships.truncate(first)
        self.writes.clip(first)
        self.last_index = first - 1
        self.stable_index = min(self.stable_index, first - 1)
        self._offered = min(self._offered, first - 1)

    # ------------------------------------------------------------------ snapshots

    def compact(self, meta: SnapshotMeta, through: int) -> None:
        """A snapshot covers the log up to `meta.index`, and entries up to `through` are let go.

        `meta.index` is in the log and committed; some entries before it may be kept for others.
        """
        if not through <= meta.index <= self.commit_index or self.term(meta.index) != meta.term:
            raise InvariantViolation(
                f"{meta!r} is no snapshot of this log, committed up to {self.commit_index}."
            )
        self.snapshot = meta
        self._memberships.compact(meta.index)
        if through >= self.first_index:
            self._terms.compact(through)
            self.first_index = through + 1

    def restore(self, meta: SnapshotMeta) -> None:
        """A snapshot of more than is committed here takes the place of the log (paper §7).

        What was durable of the old one says nothing of the new: it is when its own write is.
        """
        if meta.index <= self.commit_index:
            raise InvariantViolation(f"{self.commit_index} is committed, beyond {meta!r}.")
        self.writes.clip(self.commit_index + 1)
        self.stable_index = min(self.stable_index, self.commit_index)
        self.snapshot = meta
        self.first_index = self._tail_first = meta.index + 1
        self.last_index = self.commit_index = self._offered = meta.index
        self._tail.clear()
        self._ends.clear()
        self._base = self._total
        self._terms = TermRuns()
        self._terms.begin(meta.index, meta.term)
        self._memberships = MembershipHistory.of_snapshot(meta)

    # ------------------------------------------------------------------ disk

    def take_unwritten(self) -> tuple[Entry, ...]:
        """Entries that no write has been asked for yet."""
        if self._offered == self.last_index:
            return ()
        entries = tuple(self._tail[self._offered + 1 - self._tail_first :])
        self._offered = self.last_index
        return entries

    def persisted(self, ticket: int) -> None:
        """The writes up to this ticket are durable."""
        self.stable_index = max(self.stable_index, self.writes.confirm(ticket))

    def trim(self, applied_index: int) -> None:
        """Let go of the oldest entries in memory that nothing needs, where they are too many.

        Called with what has been handed out to be applied: at most commit_index and stable_index.
        """
        if self._total - self._base <= self._cache_bytes_max:
            return
        # A quarter more than necessary, so that the list is not moved for each entry.
        enough = self._total - self._cache_bytes_max * 3 // 4
        cut = min(bisect_right(self._ends, enough), applied_index + 1 - self._tail_first)
        if cut > 0:
            self._base = self._ends[cut - 1]
            self._tail_first += cut
            del self._tail[:cut]
            del self._ends[:cut]


def _checked_snapshot(reader: LogReader) -> SnapshotMeta | None:
    snapshot = reader.snapshot
    if snapshot is not None and not reader.first_index - 1 <= snapshot.index <= reader.last_index:
        raise InvariantViolation(
            f"The log holds {reader.first_index} to {reader.last_index}, and its snapshot ends at "
            f"{snapshot.index}: what was between them is lost."
        )
    return snapshot
