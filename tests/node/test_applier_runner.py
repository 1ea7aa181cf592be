"""Committed entries are applied on the loop or on a thread: in order, each once, none skipped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count

import pytest

from raftcore.types import Entry, EntryKind
from raftdjango.applier import Applied, AppliedState, EnvironmentFault, Locked
from raftdjango.node.consensus.applier_runner import ApplierRunner
from raftdjango.node.limits import (
    APPLY_BATCH_BYTES_MAX,
    APPLY_BATCH_ENTRIES_MAX,
    APPLY_HERE_BYTES_MAX,
    APPLY_HERE_ENTRIES_MAX,
    APPLY_HERE_IN_A_ROW,
)
from tests.node.loops import Clock, Loop
from tests.node.nodes import PATIENCE_S, wait_until

LARGE = b"x" * (APPLY_HERE_BYTES_MAX + 1)


def entry(index: int, data: bytes = b"x") -> Entry:
    return Entry(index, 1, EntryKind.COMMAND, 7, data)


class Applier:
    """Records batches; fails, waits and declines when told to."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.took_s = 0.0
        self.batches: list[list[int]] = []
        """Of the thread."""
        self.here: list[list[int]] = []
        """Of the loop."""
        self.state = AppliedState()
        self.gate = threading.Event()
        self.faults: list[EnvironmentFault] = []
        self.locked = False

    def apply_batch(self, entries):
        self.batches.append([one.index for one in entries])
        assert self.gate.wait(PATIENCE_S)
        return self._apply(entries)

    def apply_at_once(self, entries):
        assert threading.current_thread() is threading.main_thread()
        if self.locked:
            return None
        self.here.append([one.index for one in entries])
        return self._apply(entries)

    def _apply(self, entries):
        self.clock.time += self.took_s
        if self.faults:
            raise self.faults.pop(0)
        return [Applied(one.index, None, None, one.time_ms) for one in entries]


class Applying:
    def __init__(self) -> None:
        self.loop = Loop()
        self.clock = Clock()
        self.applier = Applier(self.clock)
        self.told: list[int] = []
        self.faults: list = []
        self.runner = ApplierRunner(
            self.applier,
            self.loop,
            members=lambda: (),
            on_applied=self.on_applied,
            on_fault=self.faults.append,
            name="apply",
            now=self.clock,
        )
        self.runner.start()

    def on_applied(self, batch) -> None:
        self.told += [applied.index for applied in batch.applied]
        assert batch.last_index == self.told[-1]

    def put(self, *indexes: int, data: bytes = b"x") -> None:
        self.runner.put(tuple(entry(index, data) for index in indexes))

    def occupy(self, index: int = 1) -> None:
        """Have the thread begin to apply; it goes on when the gate is opened."""
        self.put(index, data=LARGE)
        self.loop.run()
        wait_until(lambda: self.applier.batches, "the thread's batch")

    def hear(self, index: int) -> None:
        """Run the loop until it was told of this index."""
        wait_until(lambda: self.loop.run() or self.told[-1:] == [index], f"index {index}")

    def end(self) -> bool:
        self.applier.gate.set()
        self.runner.stop()
        return self.runner.join(PATIENCE_S)


@pytest.fixture
def applying() -> Iterator[Applying]:
    applying = Applying()
    yield applying
    assert applying.end()


# -- here ------------------------------------------------------------------------------------------


def test_what_is_put_before_the_next_iteration_is_one_batch_there(applying):
    applying.put(1)
    applying.put(2, 3)
    assert applying.applier.here == [], "not before what was sent has left"
    applying.loop.run()
    assert applying.applier.here == [[1, 2, 3]]
    assert applying.told == [1, 2, 3], "told without another iteration"
    assert applying.runner.pending_bytes == 0


def test_what_is_put_while_others_are_told_is_the_next_batch(applying):
    def more(batch) -> None:
        applying.on_applied(batch)
        if applying.told == [1]:
            applying.put(2)

    applying.runner._on_applied = more
    applying.put(1)
    applying.loop.run()
    assert applying.told == [1]
    applying.loop.run()
    assert applying.told == [1, 2]
    assert applying.applier.here == [[1], [2]]


def test_a_locked_database_goes_to_the_thread_and_nothing_is_lost_or_doubled(applying):
    applying.applier.gate.set()
    applying.applier.locked = True
    applying.put(1, 2)
    applying.loop.run()
    applying.put(3)
    applying.hear(3)
    assert applying.applier.here == []
    assert [index for batch in applying.applier.batches for index in batch] == [1, 2, 3]
    applying.applier.locked = False
    applying.put(4)
    applying.loop.run()
    assert applying.applier.here == [[4]]
    assert applying.told == [1, 2, 3, 4]


def test_a_fault_here_stops_for_good(applying):
    applying.applier.faults = [EnvironmentFault("disk full")]
    applying.applier.gate.set()
    applying.put(1)
    applying.loop.run()
    applying.put(2)
    applying.put(3, data=LARGE)
    applying.loop.run()
    assert applying.end()
    applying.loop.run()
    assert [str(fault) for fault in applying.faults] == ["disk full"]
    assert applying.told == []
    assert (applying.applier.here, applying.applier.batches) == ([[1]], []), "nothing is skipped"


@pytest.mark.parametrize("data", [b"x", LARGE], ids=["here", "on the thread"])
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_told_stops_it_for_good(applying, data):
    """Whoever was not told would wait for ever, and nobody would know why."""

    def broken(batch) -> None:
        raise OSError("no room for the identity")

    applying.runner._on_applied = broken
    applying.applier.gate.set()
    applying.put(1, data=data)
    wait_until(lambda: applying.loop.run() or applying.faults, "the fault")
    assert [str(fault) for fault in applying.faults] == ["no room for the identity"]
    applying.put(2)
    applying.loop.run()
    assert sum(map(len, applying.applier.here + applying.applier.batches)) == 1


def test_a_stop_leaves_alone_what_was_to_be_applied_here(applying):
    applying.put(1)
    assert applying.end()
    applying.loop.run()
    assert applying.told == []
    assert (applying.applier.here, applying.applier.batches) == ([], [])


# -- which way -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "data", "here"),
    [
        (APPLY_HERE_ENTRIES_MAX, b"x", 1),
        (APPLY_HERE_ENTRIES_MAX + 1, b"x", 0),
        (2, LARGE[: APPLY_HERE_BYTES_MAX // 2], 1),
        (2, LARGE, 0),
    ],
)
def test_what_is_much_goes_to_the_thread(applying, count, data, here):
    applying.applier.gate.set()
    applying.put(*range(1, count + 1), data=data)
    applying.hear(count)
    assert len(applying.applier.here) == here
    assert applying.told == list(range(1, count + 1))


def test_nothing_overtakes_the_thread(applying):
    applying.occupy()
    applying.put(2)
    applying.loop.run()
    applying.applier.gate.set()
    wait_until(lambda: not applying.runner.pending_bytes, "both batches")
    # Applied and not told yet: what were told before those would be out of order.
    applying.put(3)
    assert applying.told == []
    applying.hear(3)
    assert applying.applier.here == []
    applying.put(4)
    applying.loop.run()
    assert applying.applier.here == [[4]], "all is told: the loop applies again"
    assert applying.told == [1, 2, 3, 4]


def test_slow_work_goes_to_the_thread_and_comes_back_when_it_is_fast(applying):
    applying.applier.gate.set()
    applying.applier.took_s = 1.0
    applying.put(1)
    applying.loop.run()
    assert applying.applier.here == [[1]]
    for index in (2, 3):
        applying.put(index)
        applying.hear(index)
    assert applying.applier.here == [[1]]
    applying.applier.took_s = 0.0
    indexes = count(4)

    def is_back() -> bool:
        applying.put(index := next(indexes))
        applying.hear(index)
        return applying.applier.here == [[1], [index]]

    wait_until(is_back, "the loop's next batch")
    assert next(indexes) > 10, "it has to prove itself first"


def test_the_thread_gets_a_turn_for_the_checkpoint(applying):
    applying.applier.gate.set()
    last = 2 * APPLY_HERE_IN_A_ROW
    for index in range(1, last + 1):
        applying.put(index)
        applying.hear(index)
    assert applying.told == list(range(1, last + 1))
    on_thread = [index for batch in applying.applier.batches for index in batch]
    assert len(on_thread) == 4
    assert on_thread[1] == on_thread[0] + 1, "what begins SQLite's log anew, too"
    assert on_thread[2] == on_thread[0] + APPLY_HERE_IN_A_ROW


# -- on the thread ---------------------------------------------------------------------------------


def test_everything_committed_is_applied_in_order_and_told_once(applying):
    applying.occupy()
    for index in range(2, 101, 2):
        applying.put(index, index + 1)
    applying.applier.gate.set()
    applying.hear(101)
    assert applying.told == list(range(1, 102))
    assert [len(batch) for batch in applying.applier.batches] == [1, 100]
    assert applying.runner.pending_bytes == 0


def test_batches_are_bounded_by_count_and_bytes(applying):
    applying.applier.gate.set()
    count = APPLY_BATCH_ENTRIES_MAX * 2 + 1
    applying.put(*range(1, count + 1))
    applying.put(*range(count + 1, count + 6), data=b"x" * (APPLY_BATCH_BYTES_MAX // 2))
    applying.hear(count + 5)
    assert applying.told == list(range(1, count + 6))
    sizes = [len(batch) for batch in applying.applier.batches]
    assert max(sizes) == APPLY_BATCH_ENTRIES_MAX
    assert sizes[-2:] == [2, 1]


def test_a_verdict_that_comes_while_others_are_told_is_told_too(applying):
    applying.applier.gate.set()
    applying.occupy()
    wait_until(lambda: applying.loop.posted, "the first")

    def more(batch) -> None:
        applying.on_applied(batch)
        if applying.told == [1]:
            # The loop has looked for the last time when this is done.
            done, applying.runner._done = applying.runner._done, Late(applying)
            assert not done

    applying.runner._on_applied = more
    applying.loop.run()
    applying.loop.run()
    assert applying.told == [1, 2]
    assert applying.applier.batches == [[1], [2]]


class Late(list):
    """Looks empty to the loop once, and gets a batch right after that look."""

    def __init__(self, applying: Applying) -> None:
        super().__init__()
        self.applying, self.looked = applying, False

    def __bool__(self) -> bool:
        if not self.looked:
            self.looked = True
            self.applying.runner._given = 2  # the thread is not idle yet, as far as the loop knows
            self.applying.put(2)
            wait_until(lambda: len(self), "the second")
            wait_until(lambda: self.applying.loop.posted, "its post")
            return False
        return len(self) > 0

    def popleft(self):
        return self.pop(0)


def test_a_locked_database_is_tried_again_from_where_it_stopped(applying):
    fault = Locked("another process holds the write lock")
    fault.applied = [Applied(1, None, None, 7)]
    applying.applier.faults = [fault]
    applying.applier.gate.set()
    applying.applier.locked = True
    applying.put(1, 2, 3)
    applying.hear(3)
    assert applying.applier.batches == [[1, 2, 3], [2, 3]]
    assert applying.told == [1, 2, 3]
    assert applying.faults == []


def test_a_fault_stops_for_good_after_telling_what_was_done(applying):
    fault = EnvironmentFault("disk full")
    fault.applied = [Applied(1, None, None, 7)]
    applying.applier.faults = [fault]
    applying.applier.gate.set()
    applying.applier.locked = True
    applying.put(1, 2)
    wait_until(lambda: applying.loop.run() or applying.faults, "the fault")
    applying.put(3)
    applying.loop.run()
    assert applying.end()
    applying.loop.run()
    assert applying.told == [1]
    assert applying.applier.batches == [[1, 2]], "the entry was not skipped"


def test_a_stop_ends_after_the_batch_under_way(applying):
    applying.occupy()
    applying.put(*range(2, 10))
    applying.runner.stop()
    assert applying.end()
    assert applying.applier.batches == [[1]]


def test_a_closed_loop_is_no_error(applying):
    applying.loop.closed = True
    applying.applier.gate.set()
    applying.put(1, data=LARGE)
    applying.loop.run()
    wait_until(lambda: applying.runner.pending_bytes == 0, "the batch")
    assert applying.end()
