"""`python -m benchmarks.core`: the core and its log, medians of the rounds, as Markdown tables."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.core import pysyncobj_cluster as other
from benchmarks.core import work

Row = tuple[str, ...]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.core", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the amount of work")
    parser.add_argument("--folder", type=Path, help="where the logs on disk are made")
    return parser.parse_args()


class Bench:
    """Runs a piece of work several times."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.rounds: int = options.rounds
        self.folder: Path | None = options.folder
        self._scale: float = options.scale

    def amount(self, count: int, batch: int = 1) -> int:
        """At this scale, in whole batches."""
        return max(round(count * self._scale) // batch, 1) * batch

    def median(self, run: Callable[[], float]) -> float:
        return median(run() for _ in range(self.rounds))


def batches(bench: Bench) -> Iterator[Row]:
    yield "entries in a batch", "entries/s", "PySyncObj, entries/s", "ratio"
    for batch in (1, 4, 16, 64, 256, 1024):
        count = bench.amount(2048 * min(batch, 16), batch)
        runs = [partial(work.replicated, count, batch=batch)]
        if other.INSTALLED:
            runs.append(partial(other.replicated_entries, count, batch=batch))
        # In turns, so that whatever else the machine does meets both.
        rates = list(zip(*[[run() for run in runs] for _ in range(bench.rounds)], strict=True))
        ours, *theirs = map(median, rates)
        yield (
            str(batch),
            f"{ours:,.0f}",
            *(
                [f"{theirs[0]:,.0f}", f"{ours / theirs[0]:.1f}"]
                if theirs
                else ["not installed", ""]
            ),
        )


def reads(bench: Bench) -> Iterator[Row]:
    yield "reads at once", "at the leader, reads/s", "at a follower, reads/s"
    for batch in (1, 16, 256):
        count = bench.amount(4096 * min(batch, 16), batch)
        rates = [
            bench.median(partial(work.reads, count, batch=batch, at=place)) for place in ("a", "b")
        ]
        yield str(batch), *(f"{rate:,.0f}" for rate in rates)


def wal(bench: Bench) -> Iterator[Row]:
    yield "entry", "entries in a sync", "entries/s", "syncs/s", "MB/s"
    for size in (100, 4096):
        for batch in (1, 8, 64, 512):
            count = bench.amount(1000 * min(batch, 16), batch)
            run = partial(work.logged, count, batch=batch, size=size, folder=bench.folder)
            rate = bench.median(run)
            cells = (f"{rate:,.0f}", f"{rate / batch:,.0f}", f"{rate * size / 1e6:.1f}")
            yield f"{size} bytes", str(batch), *cells


def compaction(bench: Bench) -> Iterator[Row]:
    yield "compacted every", "entries/s", "longest batch, ms", "a compaction, ms"
    count = bench.amount(200_000, 64)
    for every in (0, 64_000, 6_400):
        rate, longest, taken = (
            median(column)
            for column in zip(
                *[
                    work.compacted(count, batch=64, size=1000, every=every, folder=bench.folder)
                    for _ in range(bench.rounds)
                ],
                strict=True,
            )
        )
        yield (
            f"{every:,} entries" if every else "never",
            f"{rate:,.0f}",
            f"{longest:.1f}",
            f"{taken:.1f}" if every else "",
        )


def restart(bench: Bench) -> Iterator[Row]:
    yield "entries in the log", "opening it, s", "making a core on it, s"
    for count in (10_000, 100_000, 1_000_000):
        count = bench.amount(count)
        opening, making = work.restart(count, folder=bench.folder)
        yield f"{count:,}", f"{opening:.2f}", f"{making:.4f}"


def ticks(bench: Bench) -> Iterator[Row]:
    yield "members", "nothing due, us", "heartbeats due, us"
    for members in (1, 3, 9):
        count = bench.amount(3000)
        idle = bench.median(partial(work.ticks, count, members=members, due=False))
        if members == 1:
            yield "1", f"{idle:.1f}", "(none are sent)"
            continue
        due = bench.median(partial(work.ticks, count, members=members, due=True))
        yield str(members), f"{idle:.1f}", f"{due:.1f}"


def growth_with_log(bench: Bench) -> Iterator[Row]:
    yield "entries in the log before", "entries/s"
    for length in (0, 10_000, 100_000, 1_000_000):
        run = partial(work.replicated, bench.amount(8192, 16), batch=16, log_length=length)
        yield f"{length:,}", f"{bench.median(run):,.0f}"


def growth_with_members(bench: Bench) -> Iterator[Row]:
    yield "members", "entries/s", "entries/s times members"
    for members in (1, 3, 5, 7, 9):
        count = bench.amount(8192, 16)
        rate = bench.median(partial(work.replicated, count, batch=16, members=members))
        yield str(members), f"{rate:,.0f}", f"{rate * members:,.0f}"


def growth_with_size(bench: Bench) -> Iterator[Row]:
    yield "bytes of an entry", "entries/s", "MB/s"
    for size in (0, 100, 1000, 10_000, 100_000):
        count = bench.amount(8192 if size < 10_000 else 1024, 16)
        rate = bench.median(partial(work.replicated, count, batch=16, size=size))
        yield f"{size:,}", f"{rate:,.0f}", f"{rate * size / 1e6:,.1f}"


SECTIONS: dict[str, tuple[str, Callable[[Bench], Iterator[Row]]]] = {
    "batches": ("Three members, entries of 100 bytes, applied by all, by batch size", batches),
    "reads": ("Linearizable reads, by rounds of heartbeats", reads),
    "wal": ("The log on disk, one sync per batch", wal),
    "compaction": ("The log compacted on a thread beside, entries of 1000 bytes", compaction),
    "restart": ("A start, entries of 100 bytes", restart),
    "ticks": ("A leader's timer", ticks),
    "log": ("Growth with the length of the log (three members, batches of 16)", growth_with_log),
    "members": ("Growth with members (batches of 16)", growth_with_members),
    "size": ("Growth with the size of entries (three members, batches of 16)", growth_with_size),
}


def main() -> None:
    options = arguments()
    bench = Bench(options)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {bench.rounds} rounds.")
    for name in options.only:
        title, rows = SECTIONS[name]
        print(f"\n## {title}\n", flush=True)
        for number, row in enumerate(rows(bench)):
            print("| " + " | ".join(row) + " |", flush=True)
            if not number:
                print("|" + "---|" * len(row), flush=True)


if __name__ == "__main__":
    main()
