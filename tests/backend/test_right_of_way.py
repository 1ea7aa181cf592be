"""The applier goes first at the write lock, whatever becomes of the processes involved."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from raftdjango.right_of_way import RightOfWay, foreign_holder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_S = 20


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.002)


@pytest.fixture
def right(tmp_path: Path) -> RightOfWay:
    return RightOfWay.open(tmp_path / "group", lock_yield_ms=50)


class Process:
    """Another Python process with `right` open; runs the lines given, answers by printing."""

    def __init__(self, folder: Path, script: str) -> None:
        prelude = f"""
            import os, sys
            from pathlib import Path
            from raftdjango.right_of_way import RightOfWay
            right = RightOfWay.open(Path({str(folder)!r}), lock_yield_ms=50)
            def say(word):
                os.write(1, (str(word) + chr(10)).encode())  # whole lines, whoever else writes
        """
        source = textwrap.dedent(prelude) + textwrap.dedent(script)
        self.popen = subprocess.Popen(
            [sys.executable, "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path.cwd(),
        )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def hear(self) -> str:
        assert self.popen.stdout
        return self.popen.stdout.readline().strip()

    def tell(self) -> None:
        assert self.popen.stdin
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGCONT)
        self.popen.kill()
        self.popen.wait()
        assert self.popen.stdin
        assert self.popen.stdout
        self.popen.stdin.close()
        self.popen.stdout.close()


@pytest.fixture
def start(right: RightOfWay) -> Iterator[Callable[[str], Process]]:
    started: list[Process] = []

    def start(script: str) -> Process:
        started.append(Process(right.path.parent, script))
        return started[-1]

    yield start
    for process in started:
        process.kill()


HOLD = """
    watch = right.watch(lambda: say("doomed"))
    say("holding")
    sys.stdin.readline()
    say(right.unwatch(watch))
    sys.stdin.readline()
"""
WANT = """
    with right.wanted():
        say("waiting")
        sys.stdin.readline()
    say("has it")
    sys.stdin.readline()
"""


def test_nobody_waits_when_the_applier_does_not(right: RightOfWay) -> None:
    assert right.waited_ms() == 0
    assert right.wait_turn(0)


def test_a_worker_stands_back_until_the_applier_has_the_lock(
    right: RightOfWay, start: Callable[[str], Process]
) -> None:
    applier = start(WANT)
    assert applier.hear() == "waiting"
    assert not right.wait_turn(0.02)
    waited: list[bool] = []
    worker = threading.Thread(target=lambda: waited.append(right.wait_turn(DEADLINE_S)))
    worker.start()
    wait_until(lambda: right.waited_ms() > 20)
    assert waited == []
    applier.tell()
    worker.join()
    assert waited == [True]


def test_an_applier_that_died_while_it_waited_holds_nobody_up(
    right: RightOfWay, start: Callable[[str], Process]
) -> None:
    applier = start(WANT)
    assert applier.hear() == "waiting"
    applier.kill()
    assert right.waited_ms() >= 0
    assert right.wait_turn(DEADLINE_S)


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


def test_a_transaction_is_doomed_once_the_applier_waited_long_enough(right: RightOfWay) -> None:
    doomed: list[int] = []
    watch = right.watch(lambda: doomed.append(right.waited_ms()))
    with right.wanted():
        wait_until(lambda: doomed)
    assert doomed[0] >= 50
    assert len(doomed) == 1
    assert right.unwatch(watch) is True
    assert right.holders() == []


def test_a_transaction_that_ends_in_time_is_left_alone(right: RightOfWay) -> None:
    doomed: list[str] = []
    watch = right.watch(lambda: doomed.append("first"))
    with right.wanted():
        assert right.unwatch(watch) is False
        wait_until(lambda: right.waited_ms() > 100)
    assert doomed == []


def test_the_watchdog_wakes_up_again_after_idleness(
    right: RightOfWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftdjango.right_of_way.WATCHDOG_IDLE_S", 0)
    right.unwatch(right.watch(lambda: None))
    wait_until(lambda: right._asleep)
    doomed = threading.Event()
    watch = right.watch(doomed.set)
    with right.wanted():
        assert doomed.wait(DEADLINE_S)
    right.unwatch(watch)


def test_unwatch_waits_for_a_callback_under_way(right: RightOfWay) -> None:
    """Else the callback could roll back the connection's next transaction."""
    entered, leave = threading.Event(), threading.Event()
    order: list[str] = []

    def doom() -> None:
        entered.set()
        leave.wait(DEADLINE_S)
        order.append("doom ended")

    watch = right.watch(doom)
    with right.wanted():
        assert entered.wait(DEADLINE_S)

    def owner() -> None:
        right.unwatch(watch)
        order.append("unwatch ended")

    thread = threading.Thread(target=owner)
    thread.start()
    thread.join(0.05)
    leave.set()
    thread.join()
    assert order == ["doom ended", "unwatch ended"]


def test_a_callback_that_fails_is_called_again_and_the_slot_stays(right: RightOfWay) -> None:
    calls: list[int] = []

    def doom() -> None:
        calls.append(len(right.holders()))
        if len(calls) < 3:
            raise sqlite3.OperationalError("not yet")

    watch = right.watch(doom)
    with right.wanted():
        wait_until(lambda: len(calls) == 3)
        wait_until(lambda: right.holders() == [])
    assert calls == [1, 1, 1]
    assert right.unwatch(watch) is True


def test_another_threads_sqlite_transaction_is_rolled_back(
    right: RightOfWay, tmp_path: Path
) -> None:
    """The callback as a backend writes it: interrupt the running statement, then roll back.

    Between statements: a ROLLBACK beside a running one would clear the error that the driver is
    about to read from the connection, and the statement would seem to have ended well.
    """
    path = tmp_path / "db.sqlite3"
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO t VALUES (1)")

    statement = threading.Lock()

    def doom() -> None:
        while not statement.acquire(timeout=0.005):
            connection.interrupt()
        connection.execute("ROLLBACK")
        statement.release()

    watch = right.watch(doom)
    endless = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    )
    applier = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)

    def apply() -> None:
        with right.wanted():
            wait_until(lambda: not _busy(applier))

    thread = threading.Thread(target=apply)
    thread.start()
    with statement, pytest.raises(sqlite3.OperationalError, match="interrupted"):
        connection.execute(endless).fetchall()
    thread.join()
    assert right.unwatch(watch) is True
    assert not connection.in_transaction
    applier.execute("ROLLBACK")
    assert applier.execute("SELECT * FROM t").fetchall() == []
    connection.close()
    applier.close()


def _busy(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    return False


def test_a_holder_is_named_as_long_as_it_holds(
    right: RightOfWay, start: Callable[[str], Process]
) -> None:
    worker = start(HOLD)
    assert worker.hear() == "holding"
    (holder,) = right.holders()
    assert holder.pid == worker.pid
    assert str(worker.pid) in str(holder)
    worker.tell()
    assert worker.hear() == "False"
    assert right.holders() == []


def test_another_process_gives_way(right: RightOfWay, start: Callable[[str], Process]) -> None:
    worker = start(HOLD)
    assert worker.hear() == "holding"
    with right.wanted():
        assert worker.hear() == "doomed"
        wait_until(lambda: right.holders() == [])


def test_a_stopped_holder_is_named_and_gives_way_once_it_goes_on(
    right: RightOfWay, start: Callable[[str], Process]
) -> None:
    worker = start(HOLD)
    assert worker.hear() == "holding"
    worker.popen.send_signal(signal.SIGSTOP)
    with right.wanted():
        wait_until(lambda: right.waited_ms() > 200)
        assert [holder.pid for holder in right.holders()] == [worker.pid]
        assert right.holders()[0].since_ms >= 200
        worker.popen.send_signal(signal.SIGCONT)
        assert worker.hear() == "doomed"


def test_the_slot_of_a_killed_holder_is_ignored_and_used_again(
    right: RightOfWay, start: Callable[[str], Process]
) -> None:
    first = start(HOLD)
    assert first.hear() == "holding"
    slot = next(slot for slot in range(1, 10) if right._pid_of(slot) == first.pid)
    first.kill()
    assert right.holders() == []
    second = start(HOLD)
    assert second.hear() == "holding"
    assert right._pid_of(slot) == second.pid
    assert [holder.pid for holder in right.holders()] == [second.pid]


def test_two_processes_have_two_slots(right: RightOfWay, start: Callable[[str], Process]) -> None:
    first, second = start(HOLD), start(HOLD)
    assert first.hear() == second.hear() == "holding"
    assert {holder.pid for holder in right.holders()} == {first.pid, second.pid}
    first.tell()
    assert first.hear() == "False"
    assert {holder.pid for holder in right.holders()} == {second.pid}


def test_asking_who_holds_does_not_take_the_slot_away(
    right: RightOfWay, start: Callable[[str], Process]
) -> None:
    """A process that asked the kernel about its own byte would lose its record lock."""
    watch = right.watch(lambda: None)
    assert [holder.pid for holder in right.holders()] == [os.getpid()]
    observer = start("say([holder.pid for holder in right.holders()])")
    assert observer.hear() == f"[{os.getpid()}]"
    right.unwatch(watch)


def test_the_oldest_transaction_of_a_process_counts(right: RightOfWay) -> None:
    first = right.watch(lambda: None)
    wait_until(lambda: right.holders()[0].since_ms >= 20)
    second = right.watch(lambda: None)
    right.unwatch(first)
    assert right.holders()[0].since_ms < 20
    right.unwatch(second)
    assert right.holders() == []


def test_a_forked_child_has_a_slot_and_a_watchdog_of_its_own(
    right: RightOfWay, start: Callable[[str], Process]
) -> None:
    parent = start(
        """
        watch = right.watch(lambda: say("parent doomed"))
        child = os.fork()
        if child == 0:
            watch = right.watch(lambda: say("child doomed"))
            say("ready")
            sys.stdin.readline()
            os._exit(0)
        os.waitpid(child, 0)
        sys.stdin.readline()
        """
    )
    assert parent.hear() == "ready"
    assert len(right.holders()) == 2
    with right.wanted():
        assert {parent.hear(), parent.hear()} == {"parent doomed", "child doomed"}
    parent.tell()


def test_a_file_that_was_wiped_is_opened_anew(right: RightOfWay) -> None:
    assert RightOfWay.open(right.path.parent) is right
    right.path.unlink()
    again = RightOfWay.open(right.path.parent)
    assert again is not right
    assert again.wait_turn(0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/locks")
def test_a_holder_outside_of_the_protocol_is_found(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    script = f"""
import sqlite3, sys
connection = sqlite3.connect({str(path)!r}, isolation_level=None)
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("BEGIN IMMEDIATE")
print("holding", flush=True)
sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout
        assert shell.stdout.readline() == "holding\n"
        holder = foreign_holder(path)
        shell.communicate("\n")
    assert holder is not None
    assert holder.pid == shell.pid
    assert "python" in holder.label
    assert str(holder) == f"process {shell.pid} ({holder.label})", "since when is not known"
    assert foreign_holder(path) is None
