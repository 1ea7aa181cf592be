"""What both logs promise when their beginning goes: one suite, run against each."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from raftcore.storage import LogFailed, LogStore, MemoryLog
from raftcore.types import Entry, EntryKind, HardState, SnapshotMeta
from tests.storage.logs import EVERYTHING, content, entry, open_log, run, snapshot, write


def extent(log: LogStore) -> tuple[int, int, int | None]:
    return log.first_index, log.last_index, log.snapshot and log.snapshot.index


def test_entries_that_a_snapshot_covers_go(log: LogStore) -> None:
    write(log, run(1, 10), HardState(3, "n1"))
    assert log.snapshot is None
    log.compact(snapshot(8), 5)
    log.sync()
    assert extent(log) == (6, 10, 8)
    assert log.snapshot == snapshot(8)
    assert content(log) == run(6, 10)
    assert [log.term(index) for index in (0, 6, 10)] == [0, 1, 1]
    assert log.hard_state == HardState(3, "n1")


@pytest.mark.parametrize("index", [-1, 1, 5])
def test_what_has_gone_is_an_index_error(log: LogStore, index: int) -> None:
    write(log, run(1, 10))
    log.compact(snapshot(8), 5)
    log.sync()
    with pytest.raises(IndexError):
        log.term(index)
    with pytest.raises(IndexError):
        log.entries(index, 7, EVERYTHING)


def test_the_log_goes_on_behind_what_has_gone(log: LogStore) -> None:
    write(log, run(1, 10))
    log.compact(snapshot(8), 8)
    log.sync()
    write(log, run(11, 12, term=2))
    assert content(log) == run(9, 10) + run(11, 12, term=2)
    write(log, run(9, 9, term=3))
    assert content(log) == run(9, 9, term=3)


def test_all_of_it_may_go(log: LogStore) -> None:
    write(log, run(1, 10), HardState(4, "n2"))
    log.compact(snapshot(10), 10)
    log.sync()
    assert extent(log) == (11, 10, 10)
    assert content(log) == []
    assert log.membership_indexes() == []
    assert log.hard_state == HardState(4, "n2")
    write(log, run(11, 13, term=4))
    assert content(log) == run(11, 13, term=4)


def test_a_snapshot_may_be_told_of_without_anything_to_go(log: LogStore) -> None:
    write(log, run(1, 4))
    log.compact(snapshot(3), 0)
    log.sync()
    assert extent(log) == (1, 4, 3)
    log.compact(snapshot(4), 2)
    log.compact(snapshot(4), 1)  # less than has gone already
    log.sync()
    assert extent(log) == (3, 4, 4)


def test_compacted_again_and_again(log: LogStore) -> None:
    for last in range(3, 60, 3):
        write(log, run(last - 2, last))
        log.compact(snapshot(last - 1), last - 2)
        log.sync()
        assert extent(log) == (last - 1, last, last - 1)
        assert content(log) == run(last - 1, last)


def test_memberships_that_have_gone_are_not_told_of(log: LogStore) -> None:
    def membership(index: int) -> Entry:
        return Entry(index, 1, EntryKind.MEMBERSHIP, 5, b"who")

    write(log, [membership(1), entry(2), membership(3), entry(4), membership(5)])
    log.compact(snapshot(4), 3)
    log.sync()
    assert log.membership_indexes() == [5]


@pytest.mark.parametrize(
    ("index", "term", "through", "why"),
    [(11, 1, 5, "ends at 10"), (5, 1, 6, "up to 6"), (6, 2, 4, "another log"), (4, 1, 4, "newer")],
)
def test_a_snapshot_of_something_else_is_refused(
    log: LogStore, index: int, term: int, through: int, why: str
) -> None:
    write(log, run(1, 10))
    log.compact(snapshot(5), 2)
    with pytest.raises(ValueError, match=why):
        log.compact(snapshot(index, term), through)
    assert content(log) == run(3, 10)


def test_an_entry_that_has_gone_cannot_be_replaced(log: LogStore) -> None:
    write(log, run(1, 10))
    log.compact(snapshot(8), 5)
    with pytest.raises(ValueError, match="entry 5"):
        log.append(None, run(5, 6, term=2))


def test_a_snapshot_takes_the_place_of_the_log(log: LogStore) -> None:
    write(log, run(1, 10), HardState(2, "n1"))
    log.append(HardState(7, "n3"), run(11, 12, term=2))
    log.reset(snapshot(30, 5))
    assert extent(log) == (31, 30, 30)
    log.sync()
    assert log.snapshot == snapshot(30, 5)
    assert extent(log) == (31, 30, 30)
    assert content(log) == []
    # "Hard state must survive": a vote that is forgotten may be given twice.
    assert log.hard_state == HardState(7, "n3")
    write(log, run(31, 33, term=6))
    assert content(log) == run(31, 33, term=6)


def test_a_snapshot_takes_the_place_of_a_longer_log(log: LogStore) -> None:
    write(log, run(1, 10))
    log.reset(snapshot(4, 3))
    log.append(HardState(3, None), run(5, 6, term=3))
    log.sync()
    assert extent(log) == (5, 6, 4)
    assert content(log) == run(5, 6, term=3)
    assert log.hard_state == HardState(3, None)


def test_a_snapshot_is_the_first_thing_in_a_log(log: LogStore) -> None:
    log.reset(snapshot(100, 9))
    log.sync()
    assert extent(log) == (101, 100, 100)
    log.reset(snapshot(200, 9))
    write(log, run(201, 202, term=9))
    assert content(log) == run(201, 202, term=9)
    log.compact(snapshot(202, 9), 201)
    log.sync()
    assert extent(log) == (202, 202, 202)


def test_bytes_behind_an_index_are_never_told_far_too_low(log: LogStore) -> None:
    for index in range(1, 11):
        write(log, [entry(index, data=bytes(1000))])
    log.append(None, [entry(11, data=bytes(1000))])
    for index in range(-1, 12):
        expected = 1000 * (11 - max(index, 0))
        assert expected <= log.bytes_after(index) <= expected * 1.1
    log.sync()
    log.compact(snapshot(9), 5)
    log.sync()
    for index in range(12):
        expected = 1000 * (11 - max(index, 5))
        assert expected <= log.bytes_after(index) <= expected * 1.1
    log.reset(snapshot(40))
    log.sync()
    assert log.bytes_after(0) == 0


def test_a_closed_log_lets_nothing_go(log: LogStore) -> None:
    write(log, run(1, 3))
    log.close()
    with pytest.raises(LogFailed, match="closed"):
        log.compact(snapshot(2), 2)
    with pytest.raises(LogFailed, match="closed"):
        log.reset(snapshot(9))


def covered(log: LogStore) -> int:
    return log.snapshot.index if log.snapshot else 0


def drawn_append(rng: random.Random, log: LogStore, term: int) -> list[Entry]:
    """Entries that continue a log, or replace the end of it."""
    first = rng.randint(max(covered(log) + 1, log.last_index - 4), log.last_index + 1)
    if rng.random() < 0.7:
        first = log.last_index + 1
    return [
        entry(index, term, bytes(rng.randrange(600)))
        for index in range(first, first + rng.randrange(6))
    ]


def drawn_compaction(rng: random.Random, log: LogStore) -> tuple[SnapshotMeta, int] | None:
    if covered(log) == log.last_index or log.first_index > log.last_index:
        return None
    index = rng.randint(max(covered(log), log.first_index), log.last_index)
    return snapshot(index, log.term(index)), rng.randint(0, index)


@pytest.mark.parametrize("seed", range(20))
def test_both_agree_on_any_history(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    twin = MemoryLog()
    log: LogStore = open_log(tmp_path)
    for term in range(1, 81):
        hard_state = HardState(term, "n1") if rng.random() < 0.2 else None
        entries = drawn_append(rng, twin, term)
        for store in (twin, log):
            store.append(hard_state, entries)
        if rng.random() < 0.3 and (compaction := drawn_compaction(rng, twin)):
            for store in (twin, log):
                store.compact(*compaction)
        if rng.random() < 0.05:
            meta = snapshot(twin.last_index + rng.randint(1, 50), term)
            for store in (twin, log):
                store.reset(meta)
        if rng.random() < 0.5:
            log.sync()
        if rng.random() < 0.2:
            log.sync()
            log.close()
            log = open_log(tmp_path)
        assert extent(log) == extent(twin)
        assert log.snapshot == twin.snapshot
        assert log.hard_state == twin.hard_state
        assert content(log) == content(twin)
        assert log.bytes_after(term) >= twin.bytes_after(term)
    log.close()
