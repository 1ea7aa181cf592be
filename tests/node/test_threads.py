"""The log and applier threads: everything pending in one go, nothing lost on the way back."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from raftcore.effects import Persist
from raftcore.storage import LogFailed, MemoryLog
from raftcore.types import Entry, EntryKind, HardState
from raftdjango.applier import Applied, AppliedState, EnvironmentFault, Locked
from raftdjango.node.applier_thread import ApplierThread
from raftdjango.node.limits import APPLY_BATCH_BYTES_MAX, APPLY_BATCH_ENTRIES_MAX
from raftdjango.node.log_thread import LogThread
from tests.node.nodes import PATIENCE_S, wait_until


class Loop:
    """Keeps what threads post until the test runs it."""

    def __init__(self) -> None:
        self.posted: list = []
        self.closed = False

    def call_soon_threadsafe(self, callback, *arguments):
        if self.closed:
            raise RuntimeError("closed")
        self.posted.append((callback, arguments))

    def run(self) -> None:
        posted, self.posted = self.posted, []
        for callback, arguments in posted:
            callback(*arguments)


class GatedLog(MemoryLog):
    """A log whose disk answers when the test opens the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.syncs = 0
        self.failure: Exception | None = None

    def sync(self) -> None:
        self.syncs += 1
        assert self.gate.wait(PATIENCE_S)
        if self.failure:
            raise self.failure


def entry(index: int, data: bytes = b"x") -> Entry:
    return Entry(index, 1, EntryKind.COMMAND, 7, data)


@pytest.fixture
def loop() -> Loop:
    return Loop()


class Logged:
    def __init__(self, loop: Loop) -> None:
        self.store = GatedLog()
        self.tickets: list[int] = []
        self.failures: list = []
        self.thread = LogThread(
            self.store,
            loop,
            on_persisted=self.tickets.append,
            on_failure=self.failures.append,
            name="log",
        )
        self.thread.start()

    def put(self, ticket: int) -> None:
        self.thread.put(Persist(HardState(1, "a"), (entry(ticket),), ticket))


@pytest.fixture
def logged(loop) -> Iterator[Logged]:
    logged = Logged(loop)
    yield logged
    logged.store.gate.set()
    logged.thread.stop(PATIENCE_S)


def test_everything_pending_is_one_sync_and_one_ticket(loop, logged):
    logged.put(1)
    wait_until(lambda: logged.store.syncs == 1, "the first sync")
    for ticket in range(2, 50):
        logged.put(ticket)
    assert logged.tickets == []
    assert logged.thread.stalled_s > 0
    logged.store.gate.set()
    wait_until(lambda: logged.thread.pending_bytes == 0, "the writes")
    wait_until(lambda: loop.run() or logged.tickets[-1:] == [49], "the last ticket")
    assert logged.store.syncs == 2
    assert logged.store.last_index == 49
    assert logged.thread.stalled_s == 0


def test_no_ticket_is_told_before_its_sync(loop, logged):
    logged.put(1)
    wait_until(lambda: logged.store.syncs == 1, "the sync")
    loop.run()
    assert logged.tickets == []


def test_a_ticket_that_comes_while_one_is_told_is_told_too(loop, logged):
    logged.store.gate.set()
    logged.put(1)
    wait_until(lambda: loop.posted, "the first ticket")

    def more(ticket: int) -> None:
        logged.tickets.append(ticket)
        if ticket == 1:
            logged.put(2)
            wait_until(lambda: logged.thread.pending_bytes == 0, "the second write")
            wait_until(lambda: logged.thread._persisted == 2, "its ticket")
            wait_until(lambda: loop.posted, "the second post", timeout_s=5)

    logged.thread._on_persisted = more
    loop.run()
    loop.run()
    assert logged.tickets == [1, 2]


def test_a_failed_write_is_final(loop, logged):
    logged.store.failure = LogFailed("disk full")
    logged.store.gate.set()
    logged.put(1)
    wait_until(lambda: loop.posted, "the failure")
    loop.run()
    logged.store.failure = None
    logged.put(2)
    assert logged.thread.stop(PATIENCE_S)
    loop.run()
    assert [str(failure) for failure in logged.failures] == ["disk full"]
    assert logged.tickets == []
    assert logged.store.syncs == 1


def test_a_stop_writes_what_is_queued(loop, logged):
    logged.store.gate.set()
    for ticket in (1, 2, 3):
        logged.put(ticket)
    assert logged.thread.stop(PATIENCE_S)
    assert logged.store.last_index == 3


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
