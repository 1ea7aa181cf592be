"""The applier thread: everything pending in one go, nothing lost on the way back."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from raftcore.types import Entry, EntryKind
from raftdjango.applier import Applied, AppliedState, EnvironmentFault, Locked
from raftdjango.node.applier_thread import ApplierThread
from raftdjango.node.limits import APPLY_BATCH_BYTES_MAX, APPLY_BATCH_ENTRIES_MAX
from tests.node.loops import Loop
from tests.node.nodes import PATIENCE_S, wait_until


def entry(index: int, data: bytes = b"x") -> Entry:
    return Entry(index, 1, EntryKind.COMMAND, 7, data)


@pytest.fixture
def loop() -> Loop:
    return Loop()


class Applier:
    """Records batches; fails when told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.state = AppliedState()
        self.gate = threading.Event()
        self.faults: list[EnvironmentFault] = []

    def apply_batch(self, entries):
        self.batches.append([one.index for one in entries])
        assert self.gate.wait(PATIENCE_S)
        if self.faults:
            raise self.faults.pop(0)
        return [Applied(one.index, None, None, one.time_ms) for one in entries]


class Applying:
    def __init__(self, loop: Loop) -> None:
        self.applier = Applier()
        self.told: list[int] = []
        self.faults: list = []
        self.thread = ApplierThread(
            self.applier,
            loop,
            members=lambda: (),
            on_applied=self.on_applied,
            on_fault=self.faults.append,
            name="apply",
        )
        self.thread.start()

    def on_applied(self, batch) -> None:
        self.told += [applied.index for applied in batch.applied]
        assert batch.last_index == self.told[-1]


@pytest.fixture
def applying(loop) -> Iterator[Applying]:
    applying = Applying(loop)
    yield applying
    applying.applier.gate.set()
    assert applying.thread.stop(PATIENCE_S)


def test_everything_committed_is_applied_in_order_and_told_once(loop, applying):
    applying.thread.put((entry(1),))
    wait_until(lambda: applying.applier.batches, "the first batch")
    for index in range(2, 101, 2):
        applying.thread.put((entry(index), entry(index + 1)))
    applying.applier.gate.set()
    wait_until(lambda: loop.run() or applying.told[-1:] == [101], "the last")
    assert applying.told == list(range(1, 102))
    assert [len(batch) for batch in applying.applier.batches] == [1, 100]
    assert applying.thread.pending_bytes == 0


def test_batches_are_bounded_by_count_and_bytes(loop, applying):
    applying.applier.gate.set()
    count = APPLY_BATCH_ENTRIES_MAX * 2 + 1
    applying.thread.put(tuple(entry(index) for index in range(1, count + 1)))
    large = b"x" * (APPLY_BATCH_BYTES_MAX // 2)
    applying.thread.put(tuple(entry(count + n, large) for n in range(1, 6)))
    wait_until(lambda: loop.run() or applying.told[-1:] == [count + 5], "the last")
    assert applying.told == list(range(1, count + 6))
    sizes = [len(batch) for batch in applying.applier.batches]
    assert max(sizes) == APPLY_BATCH_ENTRIES_MAX
    assert sizes[-2:] == [2, 1]


def test_a_verdict_that_comes_while_others_are_told_is_told_too(loop, applying):
    applying.applier.gate.set()
    applying.thread.put((entry(1),))
    wait_until(lambda: loop.posted, "the first")

    def more(batch) -> None:
        Applying.on_applied(applying, batch)
        if applying.told == [1]:
            # The loop has looked for the last time when this is done.
            done, applying.thread._done = applying.thread._done, Late(applying, loop)
            assert not done

    applying.thread._on_applied = more
    loop.run()
    loop.run()
    assert applying.told == [1, 2]


class Late(list):
    """Looks empty to the loop once, and gets a batch right after that look."""

    def __init__(self, applying: Applying, loop: Loop) -> None:
        super().__init__()
        self.applying, self.loop, self.looked = applying, loop, False

    def __bool__(self) -> bool:
        if not self.looked:
            self.looked = True
            self.applying.thread.put((entry(2),))
            wait_until(lambda: len(self), "the second")
            wait_until(lambda: self.applying.thread._queue.empty(), "its end")
            return False
        return len(self) > 0

    def popleft(self):
        return self.pop(0)


def test_a_locked_database_is_tried_again_from_where_it_stopped(loop, applying):
    fault = Locked("another process holds the write lock")
    fault.applied = [Applied(1, None, None, 7)]
    applying.applier.faults = [fault]
    applying.applier.gate.set()
    applying.thread.put((entry(1), entry(2), entry(3)))
    wait_until(lambda: loop.run() or applying.told[-1:] == [3], "the last")
    assert applying.applier.batches == [[1, 2, 3], [2, 3]]
    assert applying.told == [1, 2, 3]
    assert applying.faults == []


def test_a_fault_stops_for_good_after_telling_what_was_done(loop, applying):
    fault = EnvironmentFault("disk full")
    fault.applied = [Applied(1, None, None, 7)]
    applying.applier.faults = [fault]
    applying.applier.gate.set()
    applying.thread.put((entry(1), entry(2)))
    wait_until(lambda: loop.run() or applying.faults, "the fault")
    applying.thread.put((entry(3),))
    assert applying.thread.stop(PATIENCE_S)
    loop.run()
    assert applying.told == [1]
    assert applying.applier.batches == [[1, 2]], "the entry was not skipped"


def test_a_closed_loop_is_no_error(loop, applying):
    loop.closed = True
    applying.applier.gate.set()
    applying.thread.put((entry(1),))
    wait_until(lambda: applying.thread.pending_bytes == 0, "the batch")
    assert applying.thread.stop(PATIENCE_S)
