"""The log is written on the loop or on its thread: one order, one sync for all that is pending."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count

import pytest

from raftcore.effects import Persist
from raftcore.storage import LogFailed, MemoryLog
from raftcore.types import Entry, EntryKind, HardState
from raftdjango.node.consensus.log_writer import LogWriter
from raftdjango.node.limits import LOG_HERE_BYTES_MAX, LOG_HERE_ENTRIES_MAX, LOG_HERE_S
from tests.node.loops import Clock, Loop
from tests.node.nodes import PATIENCE_S, wait_until

LARGE = b"x" * (LOG_HERE_BYTES_MAX + 1)


class GatedLog(MemoryLog):
    """A log whose disk answers a thread when the test opens the gate, and the loop at once."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.gate = threading.Event()
        self.took_s = 0.0
        self.syncs = 0
        self.here = 0
        """Syncs on the test's own thread, which is the loop's."""
        self.failure: Exception | None = None
        self.room = LOG_HERE_BYTES_MAX

    def has_room(self, data_bytes: int) -> bool:
        return data_bytes <= self.room

    def sync(self) -> None:
        self.syncs += 1
        if threading.current_thread() is threading.main_thread():
            self.here += 1
        else:
            assert self.gate.wait(PATIENCE_S)
        self.clock.time += self.took_s
        if self.failure:
            raise self.failure


class Logged:
    def __init__(self) -> None:
        self.loop = Loop()
        self.clock = Clock()
        self.store = GatedLog(self.clock)
        self.tickets: list[int] = []
        self.failures: list = []
        self.writer = LogWriter(
            self.store,
            self.loop,
            on_persisted=self.tickets.append,
            on_failure=self.failures.append,
            name="log",
            now=self.clock,
        )
        self.writer.start()

    def put(self, ticket: int, data: bytes = b"x") -> None:
        entry = Entry(ticket, 1, EntryKind.COMMAND, 7, data)
        self.writer.put(Persist(HardState(1, "a"), (entry,), ticket))

    def occupy(self, ticket: int = 1) -> None:
        """Have the thread begin to write; it goes on when the gate is opened."""
        self.put(ticket, LARGE)
        self.loop.run()
        wait_until(lambda: self.store.syncs == 1, "the thread's sync")

    def hear(self, ticket: int) -> None:
        """Run the loop until it was told of this ticket."""
        wait_until(lambda: self.loop.run() or self.tickets[-1:] == [ticket], f"ticket {ticket}")

    def end(self) -> bool:
        self.writer.stop()
        return self.writer.join(PATIENCE_S)


@pytest.fixture
def logged() -> Iterator[Logged]:
    logged = Logged()
    yield logged
    logged.store.gate.set()
    logged.end()


# -- here ------------------------------------------------------------------------------------------


def test_what_is_put_before_the_next_iteration_is_one_sync_there(logged):
    for ticket in (1, 2, 3):
        logged.put(ticket)
    assert (logged.store.syncs, logged.tickets) == (0, []), "not before what was sent has left"
    logged.loop.run()
    assert (logged.store.syncs, logged.store.here) == (1, 1)
    assert logged.tickets == [3], "told without another iteration"
    assert logged.store.last_index == 3
    assert logged.writer.syncs == 1
    assert (logged.writer.pending_bytes, logged.writer.stalled_s) == (0, 0)


def test_what_is_put_while_a_ticket_is_told_is_the_next_batch(logged):
    def more(ticket: int) -> None:
        logged.tickets.append(ticket)
        if ticket == 1:
            logged.put(2)

    logged.writer._on_persisted = more
    logged.put(1)
    logged.loop.run()
    assert (logged.tickets, logged.writer.pending_bytes) == ([1], 1)
    logged.loop.run()
    assert (logged.tickets, logged.store.here) == ([1, 2], 2)


def test_a_failed_write_here_is_final(logged):
    logged.store.failure = LogFailed("disk full")
    logged.put(1)
    logged.loop.run()
    assert [str(failure) for failure in logged.failures] == ["disk full"]
    logged.store.failure = None
    logged.store.gate.set()
    logged.put(2)
    logged.put(3, LARGE)
    logged.loop.run()
    assert logged.end()
    logged.loop.run()
    assert logged.tickets == []
    assert logged.store.syncs == 1
    assert logged.store.last_index == 1, "nothing more is written, by neither way"


def test_a_stop_writes_what_was_to_be_written_here(logged):
    logged.store.gate.set()
    logged.put(1)
    logged.put(2)
    assert logged.end()
    logged.loop.run()
    assert logged.store.last_index == 2
    assert (logged.store.syncs, logged.store.here) == (1, 0)


# -- which way -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "data", "here"),
    [
        (LOG_HERE_ENTRIES_MAX, b"x", 1),
        (LOG_HERE_ENTRIES_MAX + 1, b"x", 0),
        (2, LARGE[: LOG_HERE_BYTES_MAX // 2], 1),
        (2, LARGE, 0),
    ],
)
def test_what_is_much_goes_to_the_thread(logged, count, data, here):
    logged.store.gate.set()
    for ticket in range(1, count + 1):
        logged.put(ticket, data)
    logged.hear(count)
    assert logged.store.here == here
    assert logged.store.last_index == count


def test_what_needs_a_new_file_goes_to_the_thread(logged):
    """To make one takes many times as long as a sync."""
    logged.store.gate.set()
    logged.store.room = 2
    logged.put(1, b"xxx")
    logged.hear(1)
    assert logged.store.here == 0
    logged.put(2, b"xx")
    logged.hear(2)
    assert logged.store.here == 1


def test_nothing_overtakes_the_thread(logged):
    logged.occupy()
    logged.put(2)
    logged.loop.run()
    logged.store.gate.set()
    wait_until(lambda: not logged.writer.pending_bytes, "both writes")
    # Durable and not told yet: a ticket told before those would go backwards with them.
    logged.put(3)
    assert logged.tickets == []
    logged.hear(3)
    assert logged.store.here == 0
    logged.put(4)
    logged.loop.run()
    assert logged.store.here == 1, "all is told: the loop writes again"
    assert logged.tickets == sorted(logged.tickets)
    assert logged.tickets[-1] == logged.store.last_index == 4


def test_a_slow_disk_goes_to_the_thread_and_comes_back_when_it_is_fast(logged):
    logged.store.gate.set()
    logged.store.took_s = 1.0
    logged.put(1)
    logged.loop.run()
    assert logged.store.here == 1
    for ticket in (2, 3):
        logged.put(ticket)
        logged.hear(ticket)
    assert logged.store.here == 1
    logged.store.took_s = 0.0
    tickets = count(4)

    def is_back() -> bool:
        logged.put(ticket := next(tickets))
        logged.hear(ticket)
        return logged.store.here == 2

    wait_until(is_back, "the loop's next sync")
    assert next(tickets) > 10, "it has to prove itself first"


def test_a_disk_that_is_never_quick_is_the_threads(logged):
    logged.store.gate.set()
    logged.store.took_s = LOG_HERE_S * 2
    for ticket in range(1, 101):
        logged.put(ticket)
        logged.hear(ticket)
    assert 0 < logged.store.here < 20


def test_a_large_batch_that_takes_its_time_is_no_slow_disk(logged):
    logged.store.gate.set()
    logged.store.took_s = 1.0
    logged.put(1, LARGE)
    logged.hear(1)
    logged.put(2)
    logged.loop.run()
    assert logged.store.here == 1


# -- on the thread ---------------------------------------------------------------------------------


def test_everything_pending_is_one_sync_and_one_ticket(logged):
    logged.occupy()
    for ticket in range(2, 50):
        logged.put(ticket)
    logged.clock.time += 7
    logged.loop.run()
    assert logged.tickets == [], "no ticket is told before its sync"
    assert logged.writer.stalled_s == 7
    logged.store.gate.set()
    wait_until(lambda: logged.writer.pending_bytes == 0, "the writes")
    logged.hear(49)
    assert logged.store.syncs == logged.writer.syncs == 2
    assert logged.store.last_index == 49
    assert logged.writer.stalled_s == 0


def test_a_ticket_that_comes_while_one_is_told_is_told_too(logged):
    logged.store.gate.set()
    logged.occupy()
    wait_until(lambda: logged.loop.posted, "the first ticket")
    logged.writer._given = 2  # not heard of yet, so that the next goes to the thread, too

    def more(ticket: int) -> None:
        logged.tickets.append(ticket)
        if ticket == 1:
            logged.put(2)
            wait_until(lambda: logged.writer._persisted == 2, "the second write")
            wait_until(lambda: logged.loop.posted, "the second post")

    logged.writer._on_persisted = more
    logged.loop.run()
    logged.loop.run()
    assert logged.tickets == [1, 2]


def test_a_failed_write_is_final(logged):
    logged.store.failure = LogFailed("disk full")
    logged.store.gate.set()
    logged.occupy()
    wait_until(lambda: logged.loop.posted, "the failure")
    logged.put(2)
    logged.loop.run()
    logged.store.failure = None
    logged.put(3)
    logged.loop.run()
    assert logged.end()
    logged.loop.run()
    assert [str(failure) for failure in logged.failures] == ["disk full"]
    assert logged.tickets == []
    assert logged.store.syncs == 1


def test_a_stop_writes_what_the_thread_was_given(logged):
    logged.occupy()
    for ticket in (2, 3):
        logged.put(ticket)
    logged.store.gate.set()
    assert logged.end()
    assert logged.store.last_index == 3
