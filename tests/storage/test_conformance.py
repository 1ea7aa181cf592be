"""What both logs promise: one suite, run against each."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from raftcore.storage import LogFailed, LogStore, MemoryLog
from raftcore.types import Entry, EntryKind, HardState
from tests.storage.logs import EVERYTHING, content, entry, open_log, run, write


def test_a_new_log_is_empty(log: LogStore) -> None:
    assert (log.first_index, log.last_index, log.term(0)) == (1, 0, 0)
    assert log.hard_state == HardState(0, None)


def test_entries_come_back_as_they_went_in(log: LogStore) -> None:
    entries = [entry(1), entry(2, 3, b""), entry(3, 3, bytes(range(256)) * 50)]
    write(log, entries)
    assert log.last_index == 3
    assert content(log) == entries
    assert [log.term(index) for index in range(4)] == [0, 1, 3, 3]


def test_what_was_appended_is_readable_before_the_sync(log: LogStore) -> None:
    write(log, run(1, 5))
    log.append(None, run(4, 6, term=2))
    assert content(log) == run(1, 3) + run(4, 6, term=2)
    assert log.term(4) == 2


def test_several_appends_share_one_sync(log: LogStore) -> None:
    log.append(HardState(1, "n1"), run(1, 3))
    log.append(None, run(4, 5))
    log.append(HardState(2, None), [])
    log.append(None, run(5, 7, term=2))
    log.append(None, run(3, 3, term=2))
    log.sync()
    assert content(log) == run(1, 2) + run(3, 3, term=2)
    assert log.hard_state == HardState(2, None)


@pytest.mark.parametrize("state", [HardState(1, None), HardState(7, "n2"), HardState(2**40, "")])
def test_hard_state_comes_back(log: LogStore, state: HardState) -> None:
    write(log, [], state)
    write(log, run(1, 2))
    assert log.hard_state == state


@pytest.mark.parametrize("first", [1, 2, 5, 9, 10])
def test_an_entry_at_or_below_the_last_replaces_the_rest(log: LogStore, first: int) -> None:
    write(log, run(1, 4))
    write(log, run(5, 10))
    write(log, run(first, first, term=2))
    assert log.last_index == first
    assert content(log) == run(1, first - 1) + run(first, first, term=2)
    write(log, run(first + 1, first + 3, term=3))
    assert content(log)[first:] == run(first + 1, first + 3, term=3)
    with pytest.raises(IndexError):
        log.term(first + 4)


def test_memberships_are_found_and_forgotten_with_their_entries(log: LogStore) -> None:
    def membership(index: int, term: int) -> Entry:
        return Entry(index, term, EntryKind.MEMBERSHIP, 5, b"who")

    write(log, [membership(1, 1), entry(2), membership(3, 1)])
    write(log, [entry(4), membership(5, 1)])
    assert log.membership_indexes() == [1, 3, 5]
    write(log, [entry(3, 2), membership(4, 2)])
    assert log.membership_indexes() == [1, 4]


def test_reads_stop_at_the_size_asked_for_but_give_one_entry_at_least(log: LogStore) -> None:
    entries = [entry(index, data=bytes(100)) for index in range(1, 11)]
    for one in entries:
        write(log, [one])
    assert log.entries(3, 10, 0) == tuple(entries[2:3])
    few = log.entries(1, 10, 450)
    assert 1 <= len(few) <= 4
    assert few == tuple(entries[: len(few)])
    assert log.entries(4, 6, EVERYTHING) == tuple(entries[3:6])


@pytest.mark.parametrize(("first", "last"), [(0, 1), (1, 4), (4, 4), (3, 2)])
def test_reading_outside_the_log_is_an_index_error(log: LogStore, first: int, last: int) -> None:
    write(log, run(1, 3))
    with pytest.raises(IndexError):
        log.entries(first, last, EVERYTHING)


@pytest.mark.parametrize("index", [-1, 4])
def test_the_term_of_what_is_not_there_is_an_index_error(log: LogStore, index: int) -> None:
    write(log, run(1, 3))
    with pytest.raises(IndexError):
        log.term(index)


@pytest.mark.parametrize("entries", [[entry(5)], [entry(0)], [entry(4), entry(6)]])
def test_a_gap_is_refused_and_nothing_is_taken(log: LogStore, entries: list[Entry]) -> None:
    write(log, run(1, 3))
    with pytest.raises(ValueError, match="entry"):
        log.append(None, entries)
    assert content(log) == run(1, 3)


def test_a_closed_log_takes_nothing(log: LogStore) -> None:
    log.close()
    with pytest.raises(LogFailed, match="closed"):
        log.append(None, run(1, 1))
    with pytest.raises(LogFailed, match="closed"):
        log.sync()


def test_it_tells_its_size(log: LogStore) -> None:
    write(log, [entry(1, data=bytes(5000))])
    assert log.size_bytes >= 5000  # type: ignore[attr-defined]
    assert 5000 <= log.content_bytes < 5200  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(20))
def test_both_agree_on_any_history(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    twin = MemoryLog()
    log: LogStore = open_log(tmp_path)
    term = 1
    for _ in range(60):
        hard_state = None
        if rng.random() < 0.2:
            term += 1
            hard_state = HardState(term, rng.choice((None, "n1", "n2")))
        first = rng.randint(max(1, twin.last_index - 4), twin.last_index + 1)
        if rng.random() < 0.7:
            first = twin.last_index + 1
        entries = [
            entry(index, term, bytes(rng.randrange(600)))
            for index in range(first, first + rng.randrange(6))
        ]
        for store in (twin, log):
            store.append(hard_state, entries)
        if rng.random() < 0.5:
            log.sync()
        if rng.random() < 0.2:
            log.sync()
            log.close()
            log = open_log(tmp_path)
        assert (log.last_index, log.hard_state) == (twin.last_index, twin.hard_state)
        assert content(log) == content(twin)
        if twin.last_index:
            first = rng.randint(1, twin.last_index)
            last = rng.randint(first, twin.last_index)
            assert log.entries(first, last, EVERYTHING) == twin.entries(first, last, EVERYTHING)
            assert log.term(first) == twin.term(first)
    log.close()
