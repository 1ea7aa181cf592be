"""Soak: `python -m tests.sim SEEDS [--first N] [--jobs J] [--trace]`."""

from __future__ import annotations

import argparse
import sys

from tests.sim.batch import coverage_table, run_batch, tell
from tests.sim.run import SimulationFailed, run


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("seeds", type=int, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument(
        "--jobs", type=int, default=0, help="processes (default: one per processor)"
    )
    parser.add_argument("--trace", action="store_true", help="show the last events of a failure")
    options = parser.parse_args(arguments)
    if options.trace:
        return _traced(options.first, options.seeds)
    summary = run_batch(options.first, options.seeds, options.jobs, tell)
    tell(summary.line())
    if summary.failure:
        tell(summary.failure)
        return 1
    tell(coverage_table(summary.coverage))
    if summary.missing and options.seeds >= 100:
        tell(f"Never happened: {', '.join(summary.missing)}")
        return 1
    return 0


def _traced(first: int, count: int) -> int:
    for seed in range(first, first + count):
        try:
            result = run(seed)
        except SimulationFailed as failed:
            tell(f"{failed.world.plan}")
            for now_us, what, detail in failed.world.trace:
                tell(f"{now_us / 1e6:10.6f} {what:<12} {detail}")
            tell(str(failed))
            return 1
        tell(f"seed {seed}: {result.events} events, digest {result.digest:08x}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
