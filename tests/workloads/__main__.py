"""`python -m tests.workloads`: workloads on a new cluster of three nodes, with faults."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import django


def main(arguments: list[str] | None = None) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from tests.workloads.kinds import WORKLOADS
    from tests.workloads.nemesis import FAULTS
    from tests.workloads.runner import HISTORY, Plan, again, narrate, run

    parser = argparse.ArgumentParser(prog="python -m tests.workloads", description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, help="default: all")
    parser.add_argument(
        "--faults", nargs="+", choices=[*FAULTS, "none"], help="each happens at least once"
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=2, help="of each workload, on each node")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--judge", type=Path, help="no run: judge what one has left in a folder")
    options = parser.parse_args(arguments)
    if options.judge:
        report = again(options.judge)
        tell(narrate(report))
        return int(report.wrong)
    names = options.workloads or WORKLOADS
    for name in names:
        if why := WORKLOADS[name].unavailable():
            tell(f"{name} is left out: {why}")
    plan = Plan(
        workloads=tuple(name for name in names if not WORKLOADS[name].unavailable()),
        faults=tuple(f for f in options.faults or FAULTS if f != "none"),
        seed=random.randrange(1_000_000) if options.seed is None else options.seed,
        seconds=options.seconds,
        clients=options.clients,
    )
    folder = Path(tempfile.mkdtemp(prefix="workloads-"))
    tell(f"seed {plan.seed}, in {folder}")
    try:
        report = run(plan, folder)
    except Exception:
        traceback.print_exc()
        return 1
    tell(narrate(report))
    if report.wrong:
        tell(f"What clients were told: {folder / HISTORY}")
        tell(f"Judge it again: python -m tests.workloads --judge {folder}")
    else:
        shutil.rmtree(folder)
        tell("All databases are equal, row for row.")
    tell(f"Run it again: {plan.line()}")
    return int(report.wrong)


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
