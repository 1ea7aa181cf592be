"""Many seeds, on as many processors as there are."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from tests.sim.plan import FAULTS, REMAINING_TROUBLES
from tests.sim.run import SimulationFailed, run

EXPECTED = (
    *FAULTS,
    *(f"served with trouble: {trouble}" for trouble in REMAINING_TROUBLES),
    "bit flipped",
    "bit of a snapshot flipped",
    "caught up by a snapshot after all faults",
    "change begun",
    "change refused: duplicate",
    "change refused: in progress",
    "change refused: not caught up",
    "change refused: not the leader",
    "change refused: nothing committed",
    "change refused: outdated",
    "change refused: transferring",
    "client served",
    "cluster of one",
    "command sent again in doubt",
    "compaction leaves a follower behind",
    "conflicting suffix replaced",
    "crash before an install was asked for",
    "crash before an install was durable",
    "crash between log and state machine",
    "crash when a log was replaced",
    "crash when a chunk had come in",
    "crash when a snapshot had come in",
    "crash when a snapshot was installed",
    "crash when a snapshot was taken",
    "crash when an install was asked for",
    "crash while a snapshot came in",
    "crash while a snapshot was sent",
    "crash while a snapshot was taken",
    "damage compacted away",
    "damaged log refused",
    "damaged snapshot noticed at a start",
    "damaged snapshot noticed by its sender",
    "damaged transfer noticed",
    "entries kept before a snapshot",
    "entries read back from disk",
    "entries refused",
    "entry of an earlier term committed",
    "install over a conflicting log",
    "install over a longer log",
    "joint membership",
    "leader changed while it sent a snapshot",
    "leader crashed",
    "leader elected",
    "leader gave up by itself",
    "leader removes itself",
    "leader stepped down",
    "leader's disk stalled",
    "leadership handed over",
    "log begun anew at a start",
    "log compacted",
    "log kept behind a snapshot that came in",
    "longest log is not the latest",
    "member removed while it was sent a snapshot",
    "message doubled",
    "message lost in a partition",
    "message lost",
    "message overtook another",
    "message very late",
    "nothing left to start from",
    "outcome unknown",
    "power cut during a write",
    "power cut while a snapshot was kept",
    "power cut",
    "pre-vote refused",
    "proposal refused: busy",
    "proposal refused: not the leader",
    "proposal refused: transferring",
    "read of one's own session",
    "read refused: leader lost",
    "read refused: no answer",
    "read refused: no leader",
    "read served by a follower",
    "read served by the leader",
    "removed node knows",
    "served with a witness",
    "simple membership",
    "snapshot asked for",
    "snapshot could not be received for want of a disk",
    "snapshot could not be taken for want of a disk",
    "snapshot given up by its sender",
    "snapshot installed by a witness",
    "snapshot installed",
    "snapshot overtaken by an installed one",
    "snapshot refused as stale",
    "snapshot resumed after a crash",
    "snapshot resumed by another transfer",
    "snapshot sent to a new member",
    "snapshot sent",
    "snapshot taken",
    "snapshot that had come in was not wanted",
    "snapshot told of at a start",
    "start failed for want of a disk",
    "start from a snapshot and the log behind it",
    "started from files",
    "state machine fell back",
    "state machine restored from a snapshot",
    "timer came late",
    "trace run again",
    "transfer begun",
    "transfer refused",
    "two candidates in one term",
    "unfinished snapshot dropped for another",
    "unsynced write survived a crash",
    "vote refused",
    "waiter swallowed by a snapshot",
    "write failed",
    "write lost by a crash",
)
"""What has to happen now and then.  A batch in which something of it never does proves nothing."""
PROGRESS_EVERY_S = 5


@dataclass(slots=True)
class Outcome:
    """One seed, in a form that travels between processes."""

    seed: int
    failure: str = ""
    events: int = 0
    entries: int = 0
    coverage: Counter[str] = field(default_factory=Counter)
    serving_after_us: int = 0


@dataclass(slots=True)
class Summary:
    """Many seeds."""

    seeds: int = 0
    events: int = 0
    entries: int = 0
    elapsed_s: float = 0.0
    coverage: Counter[str] = field(default_factory=Counter)
    slowest_service: tuple[int, int] = (0, 0)
    """Microseconds until a cluster served again, and the seed of that."""
    failure: str = ""

    @property
    def missing(self) -> list[str]:
        """What never happened."""
        return [name for name in EXPECTED if not self.coverage[name]]

    def line(self) -> str:
        rate = self.seeds / self.elapsed_s if self.elapsed_s else 0.0
        return (
            f"{self.seeds} seeds, {rate:.1f} per second, {self.events} events, {self.entries} "
            f"entries committed, served again after at most {self.slowest_service[0] / 1e6:.2f} s "
            f"(seed {self.slowest_service[1]})"
        )


def run_one(seed: int) -> Outcome:
    """Run a seed without raising."""
    try:
        result = run(seed)
    except SimulationFailed as failed:
        return Outcome(seed, failure=str(failed))
    return Outcome(
        seed, "", result.events, result.entries, result.coverage, result.serving_after_us
    )


def run_batch(
    first: int, count: int, jobs: int = 0, progress: Callable[[str], None] | None = None
) -> Summary:
    """Run `count` seeds from `first` on, until one fails."""
    started = told = time.perf_counter()
    summary = Summary()
    outcomes = _outcomes(range(first, first + count), jobs or os.cpu_count() or 1)
    for outcome in outcomes:
        summary.seeds += 1
        summary.elapsed_s = time.perf_counter() - started
        if outcome.failure:
            summary.failure = outcome.failure
            break
        summary.events += outcome.events
        summary.entries += outcome.entries
        summary.coverage += outcome.coverage
        service = (outcome.serving_after_us, outcome.seed)
        summary.slowest_service = max(summary.slowest_service, service)
        if progress is not None and time.perf_counter() - told > PROGRESS_EVERY_S:
            told = time.perf_counter()
            progress(summary.line())
    outcomes.close()
    return summary


def _outcomes(seeds: range, jobs: int) -> Generator[Outcome, None, None]:
    if jobs == 1 or len(seeds) == 1:
        yield from map(run_one, seeds)
        return
    # Spawned, not forked: the caller may have threads.
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(run_one, seeds, chunksize=4)


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def coverage_table(coverage: Counter[str]) -> str:
    width = max(map(len, EXPECTED))
    names = itertools.chain(EXPECTED, sorted(set(coverage) - set(EXPECTED)))
    return "\n".join(f"  {name:<{width}} {coverage[name]:>9}" for name in names)
