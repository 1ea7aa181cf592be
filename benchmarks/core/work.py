"""What is measured; each function returns a rate or a time, of one run."""

from __future__ import annotations

import gc
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks.core.cluster import NAMES, Cluster
from raftcore import Config, Entry, EntryKind, HardState, Membership, RaftCore, SnapshotMeta
from raftcore.storage import WriteAheadLog


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """How long it takes: the processor's time, as nothing here waits, except for a disk."""
    gc.collect()
    started = clock()
    work()
    return clock() - started


def replicated(
    count: int,
    *,
    batch: int,
    members: int = 3,
    size: int = 100,
    log_length: int = 0,
    codec: bool = True,
) -> float:
    """Entries per second, proposed at the leader in batches and applied by everybody."""
    cluster = Cluster(members, log_length=log_length, codec=codec)
    before = dict(cluster.applied)
    data = bytes(size)

    def work() -> None:
        for _ in range(count // batch):
            for _ in range(batch):
                cluster.leader.propose(data, cluster.now_ms)
            cluster.settle()
        # What followers know of the last commit comes with the next message.
        cluster.settle()

    taken = seconds(work)
    done = count // batch * batch
    assert all(cluster.applied[name] - before[name] == done for name in cluster.names)
    return done / taken


def reads(count: int, *, batch: int, at: str = "a") -> float:
    """Linearizable reads per second, by rounds of heartbeats, `batch` begun at once."""
    cluster = Cluster(3)
    core = cluster.cores[at]

    def work() -> None:
        for _ in range(count // batch):
            for _ in range(batch):
                core.read_index(cluster.now_ms)
            cluster.settle()

    taken = seconds(work)
    assert not core.status(cluster.now_ms).reads_pending
    return count // batch * batch / taken


def logged(count: int, *, batch: int, size: int, folder: Path | None = None) -> float:
    """Entries per second into the log on disk, one sync per batch."""
    with tempfile.TemporaryDirectory(dir=folder) as path:
        log = WriteAheadLog.open(Path(path) / "log")
        data = b"x" * size

        def work() -> None:
            for first in range(1, count + 1, batch):
                indexes = range(first, first + batch)
                log.append(None, [Entry(i, 1, EntryKind.COMMAND, i, data) for i in indexes])
                log.sync()

        log.append(HardState(1), [])
        taken = seconds(work, time.perf_counter)
        log.close()
    return -(-count // batch) * batch / taken


def compacted(
    count: int, *, batch: int, size: int, every: int, folder: Path | None = None
) -> tuple[float, float, float]:
    """Entries per second into a log that is compacted beside every so many of them (0: never), the
    longest that one batch took, and the median of compactions, in milliseconds."""
    batches, compactions = [], []
    with tempfile.TemporaryDirectory(dir=folder) as path, ThreadPoolExecutor(1) as aside:
        log = WriteAheadLog.open(Path(path) / "log")
        data = b"x" * size
        voters = Membership(frozenset("abc"))

        def compact(index: int) -> None:
            meta = SnapshotMeta(index, 1, index, voters)
            started = time.perf_counter()
            log.compact(meta, index)
            compactions.append((time.perf_counter() - started) * 1000)

        def work() -> None:
            for first in range(1, count + 1, batch):
                started = time.perf_counter()
                indexes = range(first, first + batch)
                log.append(None, [Entry(i, 1, EntryKind.COMMAND, i, data) for i in indexes])
                log.sync()
                batches.append((time.perf_counter() - started) * 1000)
                if every and (first - 1) % every == 0 and first > 1:
                    aside.submit(compact, first - 1)

        log.append(HardState(1), [])
        taken = seconds(work, time.perf_counter)
        aside.shutdown()
        log.close()
    return count / taken, max(batches), median(compactions) if compactions else 0.0


def restart(count: int, *, size: int = 100, folder: Path | None = None) -> tuple[float, float]:
    """Seconds to open a log of so many entries, and to make a core on it."""
    with tempfile.TemporaryDirectory(dir=folder) as path:
        log = WriteAheadLog.open(Path(path) / "log")
        data = b"x" * size
        log.append(HardState(1), [])
        for first in range(1, count + 1, 10_000):
            indexes = range(first, min(first + 10_000, count + 1))
            log.append(None, [Entry(i, 1, EntryKind.COMMAND, i, data) for i in indexes])
            log.sync()
        log.close()
        opened: list[WriteAheadLog] = []
        opening = seconds(
            lambda: opened.append(WriteAheadLog.open(Path(path) / "log")), time.perf_counter
        )
        log = opened[0]
        assert log.last_index == count
        making = seconds(
            lambda: RaftCore(
                Config("a"),
                log,
                hard_state=log.hard_state,
                bootstrap=Membership(frozenset("abc")),
                applied_index=count,
                rng=random.Random(1),
                now_ms=0,
            ),
            time.perf_counter,
        )
        log.close()
    return opening, making


def ticks(count: int, *, members: int, due: bool) -> float:
    """Microseconds of a leader's timer with its effects: with heartbeats due, or with nothing."""
    cluster = Cluster(members)
    leader, now_ms, step_ms = cluster.leader, cluster.now_ms, 0
    others = NAMES[1:members]
    spent = 0.0
    for _ in range(count):
        now_ms += 150 if due else step_ms
        started = time.process_time()
        leader.handle_timer(now_ms)
        effects = leader.take_effects()
        spent += time.process_time() - started
        cluster.now_ms = now_ms
        if due:
            # Answered outside of what is measured, or it would step down.
            assert len(effects) == len(others)
            for effect in effects:
                cluster.cores[effect.to].receive(effect.message, now_ms)
            cluster.settle()
    return spent / count * 1e6
