"""The log against a plain list, with any bound on what is kept in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftcore import (
    Entry,
    EntryKind,
    InvariantViolation,
    Malformed,
    Membership,
    SnapshotMeta,
)
from raftcore.state.log import ENTRY_OVERHEAD_BYTES, RaftLog, entry_size
from raftcore.storage import MemoryLog
from tests.core.cluster import entry, log_of, membership_entry
from tests.core.driven import BIG

BOOTSTRAP = Membership(frozenset("abc"))


def raft_log(entries=(), *, applied_index=0, cache_bytes_max=BIG):
    disk = MemoryLog()
    disk.append(None, list(entries))
    return disk, RaftLog(
        disk, bootstrap=BOOTSTRAP, applied_index=applied_index, cache_bytes_max=cache_bytes_max
    )


def write(disk: MemoryLog, log: RaftLog) -> None:
    if entries := log.take_unwritten():
        ticket = log.writes.issue(log.last_index, with_state=False, now_ms=0)
        disk.append(None, entries)
        log.persisted(ticket)


class Model:
    """A RaftLog and the list it stands for."""

    def __init__(self, begin: list[int], cache_bytes_max: int) -> None:
        terms = sorted(begin)
        self.entries = [entry(i, t, b"x" * (i % 5)) for i, t in enumerate(terms, 1)]
        self.disk, self.log = raft_log(self.entries, cache_bytes_max=cache_bytes_max)

    def graft(self, keep: int, terms: list[int]) -> None:
        """A leader replaces all behind the first `keep` entries."""
        keep = max(self.log.commit_index, keep % (len(self.entries) + 1))
        base = self.entries[keep - 1].term if keep else 1
        last = self.entries[-1].term if self.entries else 0
        # A new leader's entries are of a term that nobody has seen.
        new = [entry(keep + 1, last + 1)] + [
            entry(keep + 1 + i, last + 1 + t, b"y" * t) for i, t in enumerate(sorted(terms), 1)
        ]
        overlap = self.entries[max(0, keep - 2) : keep]
        self.log.graft([*overlap, *new])
        self.entries = [*self.entries[:keep], *new]
        assert base <= last + 1

    def append(self, count: int) -> None:
        for _ in range(count):
            term = self.entries[-1].term if self.entries else 1
            new = entry(len(self.entries) + 1, term, b"z")
            self.log.append(new)
            self.entries.append(new)

    def commit(self, index: int) -> None:
        index = min(index, len(self.entries))
        self.log.commit_to(max(index, self.log.commit_index))

    def write(self) -> None:
        write(self.disk, self.log)

    def trim(self) -> None:
        self.log.trim(min(self.log.commit_index, self.log.stable_index))

    def check(self) -> None:
        log, entries = self.log, self.entries
        assert log.last_index == len(entries)
        assert log.last_term == (entries[-1].term if entries else 0)
        assert [log.term(i) for i in range(len(entries) + 1)] == [0, *(e.term for e in entries)]
        read: list[Entry] = []
        while len(read) < len(entries):
            read += log.entries(len(read) + 1, len(entries), 3 * ENTRY_OVERHEAD_BYTES)
        assert read == entries
        in_memory = [e for e in entries if log.in_memory(e.index) and e.index > log.commit_index]
        assert log.uncommitted_bytes == sum(map(entry_size, in_memory))
        for term in range(log.last_term + 2):
            for index in range(len(entries) + 1):
                expected = max(
                    [i for i in range(1, index + 1) if entries[i - 1].term <= term], default=0
                )
                assert log.last_index_at_most(index, term) == expected


operations = st.one_of(
    st.tuples(st.just("graft"), st.integers(0, 30), st.lists(st.integers(0, 3), max_size=4)),
    st.tuples(st.just("append"), st.integers(1, 4)),
    st.tuples(st.just("commit"), st.integers(0, 30)),
    st.tuples(st.just("write")),
    st.tuples(st.just("trim")),
)


@given(
    st.lists(st.integers(1, 4), max_size=8),
    st.sampled_from([1, 200, 500, BIG]),
    st.lists(operations, max_size=25),
)
def test_it_is_a_list(begin, cache_bytes_max, steps):
    model = Model(begin, cache_bytes_max)
    model.check()
    for name, *arguments in steps:
        getattr(model, name)(*arguments)
        model.check()


def test_memory_is_bounded_once_entries_are_durable_and_handed_out():
    disk, log = raft_log(cache_bytes_max=10 * ENTRY_OVERHEAD_BYTES)
    for index in range(1, 101):
        log.append(entry(index, 1))
    log.trim(0)
    assert log.in_memory(1), "nothing is durable yet"
    write(disk, log)
    log.trim(0)
    assert log.in_memory(1), "nothing is committed yet"
    log.commit_to(100)
    log.trim(100)
    assert not log.in_memory(90)
    assert log.in_memory(100)
    assert [e.index for e in log.entries(80, 85, BIG)] == [80, 81, 82, 83, 84, 85]


def test_an_unreadable_log_is_not_an_empty_one():
    # A read error has to come through as one: taken for the log's end it would lose entries.
    class Broken(MemoryLog):
        def term(self, index: int) -> int:
            raise OSError(5, "Input/output error")

    disk = Broken()
    disk.append(None, log_of(1, 1))
    with pytest.raises(OSError, match="Input/output"):
        RaftLog(disk, bootstrap=BOOTSTRAP, applied_index=0, cache_bytes_max=1)


# ---------------------------------------------------------------- membership


def test_without_a_membership_in_the_log_the_bootstrap_is_in_force():
    _, log = raft_log([entry(1, 1)])
    assert log.membership == BOOTSTRAP


def test_the_last_membership_in_the_log_is_in_force_from_its_append():
    # "A server always uses the latest configuration in its log" (paper §6), at a start as well.
    _, log = raft_log(
        [membership_entry(1, 1, "abcd"), entry(2, 1), membership_entry(3, 1, "abcde")]
    )
    assert log.membership.voters == set("abcde")
    log.append(membership_entry(4, 1, "ab"))
    assert log.membership.voters == set("ab")


def test_a_membership_that_is_cut_off_is_in_force_no_more():
    _, log = raft_log([membership_entry(1, 1, "abcd"), membership_entry(2, 1, "abcde")])
    log.graft([entry(2, 2)])
    assert log.membership.voters == set("abcd")
    log.graft([entry(1, 3)])
    assert log.membership == BOOTSTRAP


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("wrong", [entry(3, 1), entry(1, 1), entry(2, 0)])
def test_what_does_not_continue_the_log_is_a_violation(wrong):
    _, log = raft_log([entry(1, 1)])
    with pytest.raises(InvariantViolation, match="does not continue"):
        log.append(wrong)


def test_what_is_not_in_the_log_cannot_be_committed():
    _, log = raft_log(log_of(1, 1))
    with pytest.raises(
        InvariantViolation, match=r"ends at 2: .* wiped, or restored .* new node id"
    ):
        log.commit_to(3)


def test_committed_entries_cannot_be_cut_off():
    _, log = raft_log(log_of(1, 1, 1), applied_index=2)
    with pytest.raises(InvariantViolation, match="2 is committed"):
        log._truncate(2)
    log._truncate(3)


def test_what_was_compacted_matches_by_definition():
    disk = MemoryLog()
    disk.append(None, log_of(1, 1, 2, 2))
    disk.compact(SnapshotMeta(2, 1, 0, BOOTSTRAP), 2)
    log = RaftLog(disk, bootstrap=BOOTSTRAP, applied_index=2, cache_bytes_max=1)
    assert log.matches(2, 1)
    assert log.matches(1, 1)
    log.graft([entry(1, 1), entry(2, 1), entry(3, 2), entry(4, 2), entry(5, 2)])
    assert log.last_index == 5
    with pytest.raises(InvariantViolation, match="lost or restored"):
        RaftLog(disk, bootstrap=BOOTSTRAP, applied_index=1, cache_bytes_max=1)


def test_kinds_survive():
    disk, log = raft_log()
    for index, kind in enumerate(EntryKind, 1):
        data = membership_entry(1, 1, "a").data if kind is EntryKind.MEMBERSHIP else b""
        log.append(entry(index, 1, data, kind))
    write(disk, log)
    assert [e.kind for e in disk.entries(1, len(EntryKind), BIG)] == list(EntryKind)


def test_an_entry_that_cannot_be_taken_changes_nothing():
    _, log = raft_log([entry(1, 1)])
    with pytest.raises(Malformed):
        log.append(entry(2, 5, b"\xff", EntryKind.MEMBERSHIP))
    assert (log.last_index, log.last_term, log.membership) == (1, 1, BOOTSTRAP)
    log.append(entry(2, 3))
    assert (log.term(2), log.last_term) == (3, 3)
