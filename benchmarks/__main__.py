"""`python -m benchmarks`: every workload on every system, interleaved, medians of the rounds."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.report import table
from benchmarks.run import Case, Measurement, measure
from benchmarks.systems import SYSTEMS, PostgreSQL, System
from benchmarks.workloads import WORKLOADS


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [system.name for system in SYSTEMS]
    parser.add_argument("--systems", nargs="+", choices=names, default=names)
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--writers", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--placements", nargs="+", default=["leader", "follower", "spread"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--json", type=Path, help="write every measurement to this file")
    return parser.parse_args()


def cases(options: argparse.Namespace, system: System) -> list[Case]:
    """What is measured on one system."""
    return [
        Case(workload, placement, writers)
        for workload in options.workloads
        for writers in options.writers
        for placement in system.placements
        if placement in ("", *options.placements)
        # Elsewhere than in `create`, where the writers are makes no new point.
        if placement in ("", "leader") or workload == "create"
    ]


def main() -> None:
    options = arguments()
    chosen = [system for system in SYSTEMS if system.name in options.systems]
    if PostgreSQL in chosen and PostgreSQL.programs() is None:
        print("PostgreSQL's programs are not installed: measured without it.", file=sys.stderr)
        chosen.remove(PostgreSQL)
    folder = Path(tempfile.mkdtemp(prefix="raftdjango-bench-"))
    folder.chmod(0o755)
    measurements: list[Measurement] = []
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        systems = []
        for kind in chosen:
            print(f"starting {kind.name} ...", file=sys.stderr)
            system = kind(folder)
            stack.callback(system.stop)
            system.start()
            systems.append(system)
        for workload in options.workloads:
            for writers in options.writers:
                for _ in range(options.rounds):
                    for system in systems:
                        for case in cases(options, system):
                            if (case.workload, case.writers) == (workload, writers):
                                measurements.append(measure(system, case, options.seconds))
                                print(measurements[-1].line(), file=sys.stderr)
    print(table(measurements))
    if options.json:
        options.json.write_text(json.dumps([m.as_dict() for m in measurements], indent=1))


if __name__ == "__main__":
    main()
