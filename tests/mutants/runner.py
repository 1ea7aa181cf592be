"""Makes a copy of `raftcore` with one mistake in it and simulates that."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.catalogue import Mutant

ROOT = Path(__file__).resolve().parent.parent.parent
_PROGRAM = """
import json, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import raftcore
assert raftcore.__file__.startswith(sys.argv[1]), raftcore.__file__
from tests.sim.run import SimulationFailed, run
failures = []
for seed in range(int(sys.argv[3])):
    try:
        run(seed)
    except SimulationFailed as failed:
        failures.append((seed, f"{type(failed.cause).__name__}: {failed.cause}"))
        if sys.argv[4] == "first":
            break
print(json.dumps(failures))
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which seeds noticed, and how."""

    failures: tuple[tuple[int, str], ...]


def simulate(mutant: Mutant, seeds: int, *, first_only: bool) -> Verdict:
    """Run seeds against the mutant."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "raftcore"
        shutil.copytree(ROOT / "raftcore", target, ignore=shutil.ignore_patterns("__pycache__"))
        for file, before, after in mutant.edits:
            text = (target / file).read_text()
            if text.count(before) != 1:
                raise LookupError(f"{mutant.name!r} no longer fits {file}: adapt it to the code")
            (target / file).write_text(text.replace(before, after))
        done = subprocess.run(
            [
                *(sys.executable, "-c", _PROGRAM, folder, str(ROOT), str(seeds)),
                "first" if first_only else "all",
            ],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
        return Verdict(tuple((seed, cause) for seed, cause in json.loads(done.stdout)))
