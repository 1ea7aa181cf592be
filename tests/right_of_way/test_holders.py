"""Who holds the write lock is known as long as he does, whatever becomes of him."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raftdjango.right_of_way.holders import foreign_holder
from raftdjango.right_of_way.lock_file import RightOfWay
from tests.right_of_way.processes import HOLD, Start, wait_until


def test_a_holder_is_named_as_long_as_it_holds(right: RightOfWay, start: Start) -> None:
    worker = start(HOLD)
    assert worker.hear() == "holding"
    (holder,) = right.holders()
    assert holder.pid == worker.pid
    assert str(worker.pid) in str(holder)
    worker.tell()
    assert worker.hear() == "False"
    assert right.holders() == []


def test_the_slot_of_a_killed_holder_is_ignored_and_used_again(
    right: RightOfWay, start: Start
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


def test_two_processes_have_two_slots(right: RightOfWay, start: Start) -> None:
    first, second = start(HOLD), start(HOLD)
    assert first.hear() == second.hear() == "holding"
    assert {holder.pid for holder in right.holders()} == {first.pid, second.pid}
    first.tell()
    assert first.hear() == "False"
    assert {holder.pid for holder in right.holders()} == {second.pid}


def test_asking_who_holds_does_not_take_the_slot_away(right: RightOfWay, start: Start) -> None:
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
