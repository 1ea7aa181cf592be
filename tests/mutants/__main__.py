"""Which tests and how many seeds notice each mistake: `python -m tests.mutants --help`."""

from __future__ import annotations

import argparse
import sys

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.runner import failing_tests, simulate


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description="Put classic mistakes back, one at a time, and see what notices.",
    )
    parser.add_argument("part", nargs="*", help="parts of names, or numbers of the table; else all")
    parser.add_argument("--seeds", type=int, default=50, help="of the simulator (%(default)s)")
    chosen = parser.parse_args(arguments)
    mutants = [mutant for mutant in MUTANTS if _fits(mutant, chosen.part)]
    if failing := failing_tests(Mutant(0, "none", ()), first_only=True):
        parser.error(f"{failing[0]} fails without any mistake: nothing can be learnt")
    unnoticed = [mutant.name for mutant in mutants if not _examine(mutant, chosen.seeds)]
    items = {mutant.item for mutant in mutants} - {0}
    _tell(
        f"\n{len(mutants)} mistakes, {len(items)} of them in the table, {len(unnoticed)} not noticed"
    )
    for name in unnoticed:
        _tell(f"  NOT NOTICED: {name}")
    return 1 if unnoticed else 0


def _fits(mutant: Mutant, parts: list[str]) -> bool:
    return not parts or any(part in mutant.name or part == str(mutant.item) for part in parts)


def _examine(mutant: Mutant, seeds: int) -> bool:
    """Tell what notices a mistake; whether anything does."""
    _tell(f"{mutant.item or '-':>2}  {mutant.name}")
    tests = failing_tests(mutant, first_only=False)
    if tests:
        _tell(f"      tests: {len(tests)}, first {tests[0]}")
    failures = simulate(mutant, seeds, first_only=False).failures
    if failures:
        seed, cause = failures[0]
        _tell(f"      seeds: {len(failures)} of {seeds}, first {seed}: {_short(cause)}")
    return bool(tests or failures)


def _short(cause: str) -> str:
    line = cause.split("\n", maxsplit=1)[0]
    return line if len(line) <= 90 else f"{line[:87]}..."


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
