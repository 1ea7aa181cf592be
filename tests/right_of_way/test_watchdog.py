"""A transaction gives the write lock back once the applier has waited long enough."""

from __future__ import annotations

import signal
import sqlite3
import threading
from pathlib import Path

import pytest

from raftdjango.right_of_way.lock_file import RightOfWay
from tests.right_of_way.processes import DEADLINE_S, HOLD, Start, wait_until


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


def test_a_transaction_may_have_some_time_of_its_own(right: RightOfWay) -> None:
    doomed: list[str] = []
    usual = right.watch(lambda: doomed.append("usual"))
    turn = right.watch(lambda: doomed.append("turn"), reserved_ms=60_000)
    with right.wanted():
        wait_until(lambda: doomed)
        wait_until(lambda: right.waited_ms() > 150)
    assert doomed == ["usual"]
    assert right.unwatch(usual) is True
    assert right.unwatch(turn) is False


def test_time_of_its_own_counts_from_when_it_took_the_lock(right: RightOfWay) -> None:
    """Whoever waits for the end of a turn does not wait as long again."""
    doomed: list[str] = []
    watch = right.watch(lambda: doomed.append("late"), reserved_ms=60_000)
    watch.since_ns -= 61_000 * 1_000_000
    with right.wanted():
        wait_until(lambda: doomed)
    assert right.unwatch(watch) is True


def test_the_watchdog_wakes_up_again_after_idleness(
    right: RightOfWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftdjango.right_of_way.lock_file.WATCHDOG_IDLE_S", 0)
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


def test_another_process_gives_way(right: RightOfWay, start: Start) -> None:
    worker = start(HOLD)
    assert worker.hear() == "holding"
    with right.wanted():
        assert worker.hear() == "doomed"
        wait_until(lambda: right.holders() == [])


def test_a_stopped_holder_is_named_and_gives_way_once_it_goes_on(
    right: RightOfWay, start: Start
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


def test_a_forked_child_has_a_slot_and_a_watchdog_of_its_own(
    right: RightOfWay, start: Start
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
