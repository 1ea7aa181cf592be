"""The applier goes first at the write lock, then the workers in the order in which they came."""

from __future__ import annotations

import signal
import threading

import pytest

from raftdjango.right_of_way import line
from raftdjango.right_of_way.lock_file import RightOfWay
from tests.right_of_way.processes import DEADLINE_S, WANT, Process, Start, wait_until


def has_it() -> bool:
    return True


def test_nobody_waits_when_the_applier_does_not(right: RightOfWay) -> None:
    assert right.waited_ms() == 0
    assert right.is_free
    assert right.acquire(has_it, 0)


def test_a_worker_stands_back_until_the_applier_has_the_lock(
    right: RightOfWay, start: Start
) -> None:
    applier = start(WANT)
    assert applier.hear() == "waiting"
    assert not right.is_free
    assert not right.acquire(has_it, 0.02)
    acquired: list[bool] = []
    worker = threading.Thread(target=lambda: acquired.append(right.acquire(has_it, DEADLINE_S)))
    worker.start()
    wait_until(lambda: right.waited_ms() > 20)
    assert acquired == []
    applier.tell()
    worker.join()
    assert acquired == [True]
    assert right.is_free


def test_an_applier_that_died_while_it_waited_holds_nobody_up(
    right: RightOfWay, start: Start
) -> None:
    applier = start(WANT)
    assert applier.hear() == "waiting"
    applier.kill()
    assert right.waited_ms() >= 0
    assert right.acquire(has_it, DEADLINE_S)


def test_a_worker_that_stopped_asking_is_still_overtaken_by_nobody(right: RightOfWay) -> None:
    """`acquire` stands back before every try, not only the first."""
    free = threading.Event()
    tries: list[bool] = []

    def begin() -> bool:
        tries.append(bool(right.waited_ms()))
        return free.is_set()

    done: list[bool] = []
    worker = threading.Thread(target=lambda: done.append(right.acquire(begin, DEADLINE_S)))
    worker.start()
    wait_until(lambda: len(tries) > 2)
    with right.wanted():
        wait_until(lambda: right.waited_ms() > 20)
        free.set()
        before = len(tries)
        wait_until(lambda: right.waited_ms() > 40)
        assert len(tries) <= before + 1
        assert done == []
    worker.join()
    assert done == [True]


def test_acquire_gives_up_at_its_deadline(right: RightOfWay) -> None:
    assert not right.acquire(lambda: False, 0.01)


def test_a_file_that_was_wiped_is_opened_anew(right: RightOfWay) -> None:
    assert RightOfWay.open(right.path.parent) is right
    right.path.unlink()
    again = RightOfWay.open(right.path.parent)
    assert again is not right
    assert again.acquire(has_it, 0)


# -- in line ---------------------------------------------------------------------------------------

WAIT = """
    from raftdjango.right_of_way import line
    line.ABSENT_NS = {absent_ns}
    def begin():  # as a lock that only one can have
        try:
            os.close(os.open({lock!r}, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True
    say("waiting")
    right.acquire(begin, 60)
    say("has it")
    sys.stdin.readline()
    os.unlink({lock!r})
    sys.stdin.readline()
"""


class Counter:
    """A lock that is taken, and processes that come for it one after the other."""

    def __init__(self, right: RightOfWay, start: Start) -> None:
        self.right, self.start = right, start
        self.absent_ns = line.ABSENT_NS
        self.lock = right.path.parent / "lock"
        self.lock.touch()

    @property
    def length(self) -> int:
        return sum(map(bool, self.right._line._tickets))

    def come(self) -> Process:
        before = self.length
        process = self.start(WAIT.format(lock=str(self.lock), absent_ns=self.absent_ns))
        assert process.hear() == "waiting"
        wait_until(lambda: self.length > before)
        return process

    def free(self) -> None:
        self.lock.unlink()


@pytest.fixture
def counter(right: RightOfWay, start: Start) -> Counter:
    return Counter(right, start)


@pytest.fixture
def patient(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Nobody is passed by, however slow the machine is."""
    counter.absent_ns = DEADLINE_S * 10**9
    monkeypatch.setattr(line, "ABSENT_NS", counter.absent_ns)
    return counter


def test_who_came_first_is_served_first(patient: Counter) -> None:
    waiting = [patient.come() for _ in range(4)]
    patient.free()
    for process in waiting:
        assert process.hear() == "has it"
        process.tell()
    wait_until(lambda: patient.right.is_free)


def test_only_the_first_asks(patient: Counter) -> None:
    first = patient.come()
    asked: list[int] = []

    def begin() -> bool:
        asked.append(patient.length)
        return True

    worker = threading.Thread(target=lambda: patient.right.acquire(begin, DEADLINE_S))
    worker.start()
    wait_until(lambda: patient.length == 2)
    assert asked == []
    patient.free()
    assert first.hear() == "has it"
    worker.join()
    assert asked == [1], "once, and after the first had left the line"


def test_threads_of_a_process_stand_in_line_for_one_place(counter: Counter) -> None:
    free = threading.Event()
    acquired: list[bool] = []
    workers = [
        threading.Thread(
            target=lambda: acquired.append(counter.right.acquire(free.is_set, DEADLINE_S))
        )
        for _ in range(5)
    ]
    for worker in workers:
        worker.start()
    wait_until(lambda: counter.length == 1)
    free.set()
    for worker in workers:
        worker.join()
    assert acquired == [True] * 5


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_the_first_in_line_holds_nobody_up_when_stopped_or_killed(
    counter: Counter, number: signal.Signals
) -> None:
    first, second = counter.come(), counter.come()
    first.popen.send_signal(number)
    counter.free()
    assert second.hear() == "has it"
    if number is signal.SIGSTOP:
        first.popen.send_signal(signal.SIGCONT)
        second.tell()
        assert first.hear() == "has it"


def test_a_forked_child_waits_for_itself(right: RightOfWay, start: Start) -> None:
    """Its parent's place, and its parent's thread that stands there, are not its own."""
    parent = start(
        """
        import threading
        free = threading.Event()
        threading.Thread(target=lambda: right.acquire(free.is_set, 60), daemon=True).start()
        while not any(right._line._tickets):
            pass
        child = os.fork()
        if child == 0:
            tries = iter([False, True])
            say(right.acquire(lambda: next(tries), 60))
            os._exit(0)
        free.set()
        os.waitpid(child, 0)
        sys.stdin.readline()
        """
    )
    assert parent.hear() == "True"


def test_who_has_an_exclusive_turn_passes_by_the_line(right: RightOfWay) -> None:
    now = right._line.now_ns()
    right._line.now_ns = lambda: now  # so that the one in line is never taken for gone
    right._line.ahead(7, now)
    assert not right.acquire(has_it, 0.01)
    assert right.acquire(has_it, DEADLINE_S, first=True)


def test_nobody_passes_by_the_applier(right: RightOfWay, start: Start) -> None:
    applier = start(WANT)
    assert applier.hear() == "waiting"
    assert not right.acquire(has_it, 0.02, first=True)
