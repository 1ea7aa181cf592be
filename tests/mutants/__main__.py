"""How many seeds notice each mistake: `python -m tests.mutants [SEEDS] [PART OF A NAME]`."""

from __future__ import annotations

import sys

from tests.mutants.catalogue import MUTANTS
from tests.mutants.runner import simulate


def main() -> int:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    part = sys.argv[2] if len(sys.argv) > 2 else ""
    unnoticed = 0
    for mutant in MUTANTS:
        if part not in mutant.name:
            continue
        failures = simulate(mutant, seeds, first_only=False).failures
        unnoticed += not failures
        cause = failures[0][1].split("\n")[0][:110] if failures else "NOT NOTICED"
        first = f"first {failures[0][0]}" if failures else ""
        sys.stdout.write(f"{len(failures):4} of {seeds} {first:<10} {mutant.name}: {cause}\n")
        sys.stdout.flush()
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
