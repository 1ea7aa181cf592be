"""The log against a plain list, through any sequence of what a node does with it."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raftcore import Entry, EntryKind, InvariantViolation, Membership, SnapshotMeta
from raftcore.codec import decode_membership, encode_membership
from raftcore.state.log import ENTRY_OVERHEAD_BYTES, RaftLog, entry_size
from raftcore.storage import MemoryLog
from tests.core.driven import BIG

BOOTSTRAP = Membership(frozenset("abc"))
MEMBERSHIPS = [Membership(frozenset(voters)) for voters in ("ab", "abcd", "b")]


class LogMachine(RuleBasedStateMachine):
    """Writes are taken, reach the disk later, in order, and may be overtaken by what replaces them.

    `entries` is what the log should hold, `commit` and `stable` what it should count on.  What has
    gone into a snapshot stays in the list, but nobody asks for it any more.
    """

    @initialize(cache_bytes_max=st.sampled_from([1, 300, BIG]), old=st.integers(0, 5))
    def begin(self, cache_bytes_max: int, old: int) -> None:
        self.cache_bytes_max = cache_bytes_max
        self.disk = MemoryLog()
        self.entries = [Entry(i, 1, EntryKind.COMMAND, i, b"old") for i in range(1, old + 1)]
        self.disk.append(None, self.entries)
        self.commit = 0
        self.snapshot: SnapshotMeta | None = None
        self.start()

    def start(self) -> None:
        self.log = RaftLog(
            self.disk,
            bootstrap=BOOTSTRAP,
            applied_index=self.commit,
            cache_bytes_max=self.cache_bytes_max,
        )
        self.from_disk = len(self.entries)
        self.stable = len(self.entries)
        self.taken = len(self.entries)
        self.handed_out = self.commit
        # Of each write under way: its entries, and the last of them that nothing has replaced.
        self.writes: list[tuple[int, tuple[Entry, ...] | SnapshotMeta, int]] = []

    def make(self, index: int, term: int, kind: int) -> Entry:
        if kind < 3:
            data = encode_membership(MEMBERSHIPS[kind])
            return Entry(index, term, EntryKind.MEMBERSHIP, index, data)
        return Entry(index, term, EntryKind.COMMAND, index, b"x" * kind)

    @property
    def last_term(self) -> int:
        return self.entries[-1].term if self.entries else 0

    @rule(later=st.integers(0, 2), kinds=st.lists(st.integers(0, 40), max_size=4))
    def append(self, later: int, kinds: list[int]) -> None:
        term = max(self.last_term + later, 1)
        for kind in kinds:
            entry = self.make(len(self.entries) + 1, term, kind)
            self.log.append(entry)
            self.entries.append(entry)

    @rule(
        back=st.integers(0, 6),
        shared=st.integers(0, 6),
        later=st.integers(1, 2),
        kinds=st.lists(st.integers(0, 40), max_size=4),
    )
    def graft(self, back: int, shared: int, later: int, kinds: list[int]) -> None:
        """A leader's entries: some that are here already, then some of a later term."""
        prev = max(len(self.entries) - back, 0)
        known = self.entries[prev : prev + shared]
        first = prev + len(known) + 1
        if kinds and first <= self.commit:
            return
        term = max(self.last_term + later, 1)
        new = [self.make(first + i, term, kind) for i, kind in enumerate(kinds)]
        self.log.graft([*known, *new])
        if new:
            del self.entries[first - 1 :]
            self.entries += new
            self.stable = min(self.stable, first - 1)
            self.taken = min(self.taken, first - 1)
            self.from_disk = min(self.from_disk, first - 1)
            self.writes = [(t, e, min(last, first - 1)) for t, e, last in self.writes]

    @precondition(lambda self: self.commit)
    @rule(data=st.data())
    def a_committed_entry_is_not_replaced(self, data: st.DataObject) -> None:
        # What is gone is not looked at: it was committed, and so it is equal everywhere.
        at = data.draw(st.integers(max(self.log.first_index - 1, 1), self.commit))
        try:
            self.log.graft([Entry(at, self.last_term + 1, EntryKind.COMMAND, 0, b"")])
        except InvariantViolation:
            return
        raise AssertionError("a committed entry was replaced")

    @rule(data=st.data())
    def commit_some(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.entries)))
        self.log.commit_to(index)
        self.commit = max(self.commit, index)

    @rule()
    def take(self) -> None:
        taken = self.log.take_unwritten()
        assert list(taken) == self.entries[self.taken :]
        self.taken = len(self.entries)
        if taken:
            last = len(self.entries)
            ticket = self.log.writes.issue(last, with_state=False, now_ms=0)
            self.writes.append((ticket, taken, last))

    @precondition(lambda self: self.writes)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, len(self.writes)))
        for _, what, last in self.writes[:count]:
            if isinstance(what, SnapshotMeta):
                self.disk.reset(what)
            else:
                self.disk.append(None, what)
            self.stable = max(self.stable, last)
        self.log.persisted(self.writes[count - 1][0])
        del self.writes[:count]

    @rule()
    def apply_and_trim(self) -> None:
        self.handed_out = max(self.handed_out, min(self.commit, self.stable))
        self.log.trim(self.handed_out)

    @precondition(lambda self: self.handed_out)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(1, self.handed_out))
        if index <= self.log.snapshot_index:
            return
        meta = self.log.meta(index)
        assert meta == self.meta(index)
        through = data.draw(st.integers(0, index))
        self.log.compact(meta, through)
        self.disk.compact(meta, through)
        self.snapshot = meta

    @rule(ahead=st.integers(1, 9), later=st.integers(0, 1), size=st.integers(0, 2))
    def restore(self, ahead: int, later: int, size: int) -> None:
        index, term = self.commit + ahead, max(self.last_term + later, 1)
        meta = SnapshotMeta(index, term, index, MEMBERSHIPS[size], membership_index=1)
        if self.log.holds(index, term):
            return
        behind = range(self.commit + 1, index + 1)
        gone = [Entry(i, term, EntryKind.COMMAND, index, b"") for i in behind]
        self.log.restore(meta)
        ticket = self.log.writes.issue(index, with_state=False, now_ms=0)
        self.writes = [(t, what, min(last, self.commit)) for t, what, last in self.writes]
        self.writes.append((ticket, meta, index))
        self.stable = min(self.stable, self.commit)
        self.entries = [*self.entries[: self.commit], *gone]
        self.commit = self.taken = self.from_disk = self.handed_out = index
        self.snapshot = meta

    def meta(self, index: int) -> SnapshotMeta:
        """What a snapshot at this place should stand for."""
        term, time_ms = self.entries[index - 1].term, self.entries[index - 1].time_ms
        at, data = self.membership(index)
        return SnapshotMeta(index, term, time_ms, decode_membership(data), at)

    def membership(self, index: int) -> tuple[int, bytes]:
        """The one in force at this place, and where it stands."""
        covered = self.snapshot.index if self.snapshot is not None else 0
        for entry in reversed(self.entries[covered:index]):
            if entry.kind is EntryKind.MEMBERSHIP:
                return entry.index, entry.data
        if self.snapshot is not None:
            return self.snapshot.membership_index, encode_membership(self.snapshot.membership)
        return 0, encode_membership(BOOTSTRAP)

    @precondition(lambda self: self.commit <= self.disk.last_index and not self.writes)
    @rule()
    def restart(self) -> None:
        """What never was handed to the disk is gone; what is committed here was on it."""
        first, last = self.disk.first_index, self.disk.last_index
        kept = list(self.disk.entries(first, last, BIG)) if first <= last else []
        gone = first - 1
        if kept[: self.commit - gone] != self.entries[gone : self.commit]:
            return
        self.entries = [*self.entries[:gone], *kept]
        self.start()

    @invariant()
    def the_log_is_the_list(self) -> None:
        log, entries = self.log, self.entries
        assert log.last_index == len(entries)
        assert log.last_term == self.last_term
        assert (log.commit_index, log.stable_index) == (self.commit, self.stable)
        covered = self.snapshot.index if self.snapshot is not None else 0
        assert log.snapshot == self.snapshot
        assert log.first_index - 1 <= covered <= self.commit
        known = range(max(log.first_index - 1, 1), len(entries) + 1)
        assert [log.term(i) for i in known] == [entries[i - 1].term for i in known]
        assert log.last_time_ms() == (entries[-1].time_ms if entries else 0)
        found = (log.membership_index, encode_membership(log.membership))
        assert found == self.membership(len(entries))
        # What was there at the start is not waited for by anybody.
        waiting = entries[max(self.commit, self.from_disk) :]
        assert log.uncommitted_bytes == sum(map(entry_size, waiting))

    @invariant()
    def reading_gives_at_least_one_and_no_more_than_asked(self) -> None:
        gone = self.log.first_index - 1
        entries = self.entries[gone:]
        for bytes_max in (1, 3 * ENTRY_OVERHEAD_BYTES, BIG):
            found: list[Entry] = []
            while len(found) < len(entries):
                some = self.log.entries(gone + len(found) + 1, len(self.entries), bytes_max)
                assert some
                assert len(some) == 1 or sum(len(e.data) for e in some) <= bytes_max
                found += some
            assert found == entries


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=800, stateful_step_count=30)
